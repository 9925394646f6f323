import pytest
from test_facts import test_4_a_frozen_broker_cancels_nobody as t
@pytest.mark.parametrize("i", range(10))
async def test_r(mortal, mortal_url, i):
    await t(mortal, mortal_url)

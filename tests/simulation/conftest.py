def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=None, help="run only this world of the simulation")

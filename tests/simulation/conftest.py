def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=None, help="run only this world of the simulation")
    parser.addoption("--worlds", type=int, default=None, help="so many worlds of each kind, instead of the long tests'")

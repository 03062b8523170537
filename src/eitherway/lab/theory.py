from eitherway.lab.results import Configuration, Prediction
def predicted(configuration: Configuration, blocked_at: str = "") -> Prediction | None:
    return None

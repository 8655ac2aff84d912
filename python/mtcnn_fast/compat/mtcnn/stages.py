"""The stages of mtcnn 1.0.0 by name, for the argument `stages` of MTCNN. The detector itself runs the networks."""

from __future__ import annotations

__all__ = ["StageONet", "StagePNet", "StageRNet"]


class Stage:
    """One of the three networks. It has a name and a number, and cannot be called."""

    def __init__(self, stage_name: str, stage_id: int) -> None:
        self.name = stage_name
        self.id = stage_id


class StagePNet(Stage):
    def __init__(self, stage_name: str = "Stage PNET", stage_id: int = 1) -> None:
        super().__init__(stage_name, stage_id)


class StageRNet(Stage):
    def __init__(self, stage_name: str = "Stage RNET", stage_id: int = 2) -> None:
        super().__init__(stage_name, stage_id)


class StageONet(Stage):
    def __init__(self, stage_name: str = "Stage ONET", stage_id: int = 3) -> None:
        super().__init__(stage_name, stage_id)

from sb3_quantum.hub.safe_files import load_safe, save_safe
from sb3_quantum.hub.strict import ModelFileError
from sb3_quantum.hub.transfer import HubError, load_from_hub, push_to_hub

__all__ = ["HubError", "ModelFileError", "load_from_hub", "load_safe", "push_to_hub", "save_safe"]

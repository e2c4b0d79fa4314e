# SPDX-License-Identifier: GPL-3.0-or-later
"""The artist's own training presets, of Blender's own kind: kept in Blender's presets folder, saved and loaded from the
menu beside the engine's presets."""

from __future__ import annotations

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

SUBDIR = "blendsplat/training"


class BLENDSPLAT_PT_training_presets(PresetPanel, bpy.types.Panel):
    """Your own training settings, saved under names"""

    bl_label = "Training Presets"
    preset_subdir = SUBDIR
    preset_operator = "script.execute_preset"
    preset_add_operator = "blendsplat.training_preset_add"


class AddTrainingPreset(AddPresetBase, bpy.types.Operator):
    """Keep these training settings under a name of your own, for other clips and files; or delete such a name"""

    bl_idname = "blendsplat.training_preset_add"
    bl_label = "Add Training Preset"
    preset_menu = "BLENDSPLAT_PT_training_presets"
    preset_subdir = SUBDIR
    preset_defines = ("settings = bpy.context.scene.blendsplat",)
    preset_values = ("settings.preset_name", "settings.minutes")

    def pre_cb(self, context: bpy.types.Context) -> None:
        """A file that never chose has no name of a preset: what holds then is kept."""
        settings = context.scene.blendsplat
        settings.preset_name = settings.chosen_preset()


CLASSES = (BLENDSPLAT_PT_training_presets, AddTrainingPreset)
register, unregister = bpy.utils.register_classes_factory(CLASSES)

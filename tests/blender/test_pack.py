# SPDX-License-Identifier: Apache-2.0
"""An avatar's file inside the .blend: used where the file itself is not there, and taken out again."""

from __future__ import annotations

import bpy
import pytest
from blender_addon import formats
from blender_addon.scene import avatar_rig, networks, packed_avatar, relink
from blender_addon.ui.operators.pack import PackAvatar
from blender_addon.ui.panels.steps import BLENDSPLAT_PT_avatar
from drawn import drawn

import synthetic


@pytest.fixture
def carrier(scene, tmp_path) -> bpy.types.Object:
    """An avatar that says that its file holds networks."""
    file = synthetic.write_avatar(tmp_path / "Ann ü.avatar.npz", gaussians=60)
    made = avatar_rig.build_avatar(bpy.context, formats.read_avatar(file), "Ann")
    made.data["blendsplat_networks"] = {}
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    made.blendsplat.avatar_path = "//Ann ü.avatar.npz"
    return made


def test_packed_it_is_found_where_the_file_is_gone(carrier, tmp_path):
    file = tmp_path / "Ann ü.avatar.npz"
    content = file.read_bytes()
    assert bpy.ops.blendsplat.pack_avatar() == {"FINISHED"}
    assert networks.file_of(carrier) == file, "the file itself goes before a packed one: it may be newer"
    file.unlink()
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    carrier = bpy.data.objects["Ann"]
    assert networks.missing_file(carrier) == "" and not relink.lost()
    found = networks.file_of(carrier)
    assert found.read_bytes() == content and found.name == file.name and found.parent != tmp_path
    assert formats.read_avatar(found).gaussians == 60
    stamp = found.stat().st_mtime_ns
    assert networks.file_of(carrier) == found and found.stat().st_mtime_ns == stamp, "it is unpacked every frame"
    assert any(words.startswith("Unpack Avatar (0.") for words in drawn(BLENDSPLAT_PT_avatar))
    assert bpy.ops.blendsplat.unpack_avatar() == {"FINISHED"}
    assert file.read_bytes() == content and not packed_avatar.is_packed(carrier)
    assert not bpy.ops.blendsplat.unpack_avatar.poll()


def test_what_is_there_is_not_written_over(carrier, tmp_path):
    file = tmp_path / "Ann ü.avatar.npz"
    bpy.ops.blendsplat.pack_avatar()
    file.write_bytes(b"trained further since")
    assert bpy.ops.blendsplat.unpack_avatar() == {"FINISHED"}
    assert file.read_bytes() == b"trained further since"


def test_an_avatar_trained_further_stays_packed(carrier, tmp_path):
    bpy.ops.blendsplat.pack_avatar()
    file = synthetic.write_avatar(tmp_path / "Ann ü.avatar.npz", gaussians=80)
    avatar_rig.replace_avatar(carrier, formats.read_avatar(file))
    assert packed_avatar.size_of(carrier) == len(file.read_bytes())


def test_reasons(carrier, tmp_path):
    assert PackAvatar.reason(bpy.context) == ""
    (tmp_path / "Ann ü.avatar.npz").unlink()
    with pytest.raises(RuntimeError, match=r"Ann ü.avatar.npz cannot be read: No such file"):
        bpy.ops.blendsplat.pack_avatar()
    del carrier.data["blendsplat_networks"]
    assert PackAvatar.reason(bpy.context) == "Nothing is to be packed: all of Ann is in this .blend already."

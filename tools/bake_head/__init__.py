# SPDX-License-Identifier: Apache-2.0
"""Bakes the head ``human`` from MakeHuman's CC0 base mesh and targets: ``python -m tools.bake_head WHEEL OUT``.

In the order of the work: ``makehuman`` reads the source, ``skin`` cuts head and neck out of the body and refines them
round eyes and lips, ``parts`` makes eyeballs, teeth and tongue, ``head`` puts them together as one linear operator on
the source's vertices, ``people`` samples faces and finds their principal directions, ``mouth`` closes the lips,
``rig`` gives joints, weights and correctives, ``uvs`` lays the surface out, ``regions`` names its parts.

Everything up to the last step is in the source's frame (y up, the person's left +x) in millimetres.
"""

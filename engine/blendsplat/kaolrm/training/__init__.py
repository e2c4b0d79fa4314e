# SPDX-License-Identifier: Apache-2.0
"""Training KaoLRM: the published stages, the supervised and the closed-form small network, and their data."""

# SPDX-License-Identifier: Apache-2.0
"""A folder of clips becomes avatars: what is left to do for each, by whom it is done, and the table at the end."""

# SPDX-License-Identifier: Apache-2.0
"""What the command line and the server both run: options, work, devices, failures, logs."""

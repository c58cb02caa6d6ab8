/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one object that every file of vmx/ reads. It has a file of its own, so that reading it is no dependency on the
 * code that resolves it (root.c).
 */
#include "vmx/features.h"

struct vmx_features vmx_features;

// SPDX-License-Identifier: Apache-2.0

//go:build !race

package election

const slower = 1

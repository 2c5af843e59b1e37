// SPDX-License-Identifier: Apache-2.0

// Package gather turns what sealed hosts have said into what a successor is chosen by (docs/design.md §2, door 4). It is
// pure, and runs in the simulation too.
package gather

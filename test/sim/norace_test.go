// SPDX-License-Identifier: Apache-2.0

//go:build !race

package sim

import "testing"

const slower = 1

func notWithRace(*testing.T) {}

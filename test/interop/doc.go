// SPDX-License-Identifier: Apache-2.0

// Package interop holds tests against other implementations of VRRP, each run
// in a network namespace beside ours: keepalived 2.2.7 as Debian 12 ships it.
// They need root and what test/lab/setup.sh unpacks.
//
// They also hold what we believe about keepalived: where it deviates from the
// RFCs, a test says so and fails when that changes.
package interop

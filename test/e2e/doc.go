// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the program itself: three hosts of a lab with real servers and the built
// binary on each, clients that write through the VIP, and real faults.
//
// Every test ends with the same questions (see rig.end): is every acknowledged row on the
// primary, did any two servers acknowledge at one time, does exactly one host carry the VIP,
// and does every other server follow that host's or is it held with its transactions named.
package e2e

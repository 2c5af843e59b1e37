// SPDX-License-Identifier: Apache-2.0

// Package web shows the cluster as one node sees it: the status document, its table and page, metrics and health endpoints
// (docs/design.md §7). It is read-only; what changes the cluster goes through the local socket or the peer channel.
//
// The supervisor describes the moment in a [Snapshot], made anew for every request, so that no gauge can disagree with the machine. What
// happens between two requests is counted in [Metrics]. [Status.Judge] puts the facts into one sentence and a next step; it and
// [Status.Table] are pure, and `highwater status` prints with them what the supervisor sent.
package web

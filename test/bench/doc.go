// SPDX-License-Identifier: Apache-2.0

// Bench measures what clients notice of a fault on the primary, with Highwater and with keepalived 2.2.7 and a promote
// script, in the same lab and in one run, what either costs at rest, and what Highwater adds to a commit.
//
//	bench -binary bin/highwater [-runs 5] [-faults kill-server,unplug] [-systems highwater,keepalived]
//	      [-json FILE] [-markdown FILE] [-logs DIR]
//	bench -binary bin/highwater -faults latency -runs 20 [-systems highwater-quorum,highwater-lossless] [-latency-for 4s]
//
// Each trial is a new lab: three hosts with real servers, semi-synchronous replication on, four clients that write
// through the VIP. The fault comes at a random moment. The systems take turns, so that whatever else the machine does
// hits all of them alike. The figure of a trial is its outage: the longest stretch in which none of the clients got
// a commit acknowledged. Afterwards every acknowledged row is looked up at the server that acknowledged last, and what
// a watcher saw all the while says whether two hosts carried the VIP in front of writable servers.
//
// Latency is measured in pairs of halves: the same running servers, with supervisors and without, in random order. The
// figure is the ratio of the medians, with an interval over all pairs.
//
// It needs root and the programs that test/lab/setup.sh brings. Ctrl-C ends it and removes everything.
package main

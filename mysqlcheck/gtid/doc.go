// SPDX-License-Identifier: Apache-2.0

// Package gtid is the algebra of replication positions: GTID sets of MySQL,
// with and without tags, and positions of MariaDB.
//
// A [Set] is a value. Methods never change their receiver or argument, so a
// Set may be shared between goroutines and kept in a journal. The zero Set is
// empty and agrees with either flavor. Nothing here does I/O, reads a clock or
// panics, whatever the input.
//
// # MySQL
//
// Sets are exact. What [ParseMySQL] accepts and how [Set.String] prints it is
// what MySQL 9.7 does with GTID_SUBSET and GTID_SUBTRACT; the tests ask a live
// server. Servers before 8.3 know no tags, and differ in no other way.
//
// # MariaDB
//
// A position such as 0-1-100 says: domain 0 is complete up to sequence number
// 100, and server 1 wrote number 100. A binary log state (gtid_binlog_state)
// names the last number of every server of the domain: 0-1-90,0-2-100. Two
// things follow that MySQL does not have, and both are deliberate:
//
//   - A position does not say who wrote the numbers below its last one. So
//     0-1-100 contains 0-2-90: after a failover that is the normal case. It does
//     not contain 0-2-100, because one number cannot come from two servers:
//     the two have diverged. A state knows more and is believed: 0-1-90,0-2-100
//     contains neither 0-1-95, since server 1 ended at 90 there, nor 0-3-95, since
//     server 2 alone wrote 91 to 100. What cannot be seen is a divergence below
//     the first number of a state, or below a plain position (the state of
//     a domain with one server reads like one), and one whose server wrote on
//     both branches. Compare states where the server has them. Contains is
//     transitive among positions, not in a mixture.
//   - Sequence numbers may have gaps (filtered events, gtid_seq_no set by hand),
//     and of diverged histories only the ends are known. So Count of a
//     difference is an estimate, never zero unless the difference is empty.
//
// Union keeps the larger position of each domain. Where two have diverged it
// keeps the ends of both, so a union is strictly ahead of each of two sets that
// have diverged; two servers at the same number stay visible in every later
// union with a set that knows of either. Compare before Union all the same.
//
// Differences and common parts are not positions. They have a text of their own
// that no server prints or accepts and [ParseMariaDB] reads back: 0-1-51..100 is
// the numbers 51 to 100, the last by server 1; 0-*-1..50 ends with a transaction
// whose server is not known.
//
// # Two flavors
//
// A set of one flavor contains nothing of the other: Contains is false, Compare
// says Diverged, Intersect is empty and Subtract takes nothing away. A Union of
// two flavors holds both and has no text: its MarshalText is an error.
package gtid

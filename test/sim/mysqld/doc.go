// SPDX-License-Identifier: Apache-2.0

// Package mysqld models a MySQL or MariaDB server: its binary log, the commits that wait in it for acknowledgements, its
// relay log, and the connections of its replicas. It is for simulations, which supply time, latency and chance: nothing
// happens by itself, and every step is a method. It has no clock, no randomness and no goroutines, and its common steps
// allocate nothing.
//
// What it claims is held to real servers, MySQL 9.7 and MariaDB 10.11, by the scripts in testdata (docs/design.md §8.4).
// Where the two differ, the real one is right.
//
// It models the settings that Highwater asks for: GTIDs, log_replica_updates, sync_binlog and
// innodb_flush_log_at_trx_commit 1, relay_log_recovery, super_read_only and skip_replica_start at boot; and semi-sync
// with AFTER_SYNC, without a timeout, and waiting also while no replica is there.
package mysqld

// SPDX-License-Identifier: Apache-2.0

package mysqld

// wrong is a way in which a model can differ from real servers. The scripts must notice each.
type wrong uint8

const (
	right               wrong = iota
	lockKills                 // a lock ends the dump thread
	noLock                    // a lock does not refuse
	acksAtOnce                // rpl_semi_sync_replica_enabled takes effect at once
	acksAtReconnect           // a receiver that it was switched off for reconnects
	disableKeepsWaiting       // switching semi-sync off leaves those who wait
	acksForNew                // another number of acknowledgements holds only for later commits
	silentTerminate           // SIGTERM tells nobody
	killCommits               // KILL commits, on MySQL too
	killKeepsWaiting          // KILL commits nowhere
	followKeepsRelay          // another source leaves the relay log
	relaySurvives             // what was received survives whatever happens
	killLosesTail             // what waited when the server ended is not in its log
	noFull                    // MariaDB writes as many groups as there are
	showsWhatIs               // super_read_only shows what holds
	readOnlyAtOnce            // read-only waits for nobody
	hidesWaiting              // what waits is not sent
	showsWaiting              // gtid_executed has what waits, on MySQL too
	acksOld                   // what was received before is acknowledged
	acksTwice                 // one replica is as good as many
	forgetsGone               // an acknowledgement goes with its connection
	killTells                 // a crash tells clients OK
	noRetry                   // a receiver does not come back after its dump thread was killed
	applierPasses             // an applier does not wait for acknowledgements
	wrongs
)

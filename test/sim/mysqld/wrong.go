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
	wrongs
)

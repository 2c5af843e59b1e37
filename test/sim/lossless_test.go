// SPDX-License-Identifier: Apache-2.0

package sim

import "testing"

// lossless is a cluster in which nothing acknowledged may be lost, on servers of either flavor.
func lossless(seed uint64) Config {
	return Config{Seed: seed, Quorum: true, Lossless: true, KillServer: true, MariaDB: seed%4 == 0, GoAlone: seed%3 == 0}
}

func TestLossless(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{Config: lossless(seed)}
	}, 200)
}

func TestLosslessPartitions(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{Config: lossless(seed), Partitions: true}
	}, 200)
}

func TestLosslessFiveHosts(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		c := lossless(seed)
		c.Hosts = 5
		return Schedule{Config: c, Partitions: true}
	}, 25)
}

// TestLosslessStunned holds that a host which is paused with its clock, and believes what has long ended, gets nothing
// acknowledged by that.
func TestLosslessStunned(t *testing.T) {
	schedules(t, func(seed uint64) Schedule {
		return Schedule{
			Config: lossless(seed), Moves: 4,
			Only: []Fault{StunHost, StunHost, KillServer, Isolate, Scramble, FreezeSupervisor, PowerOff, LosePackets},
		}
	}, 150)
}

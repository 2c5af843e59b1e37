// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
)

// semiSyncForever is from which timeout on nobody waits for semi-sync to give up.
const semiSyncForever = time.Hour

// unstoppable says why only SIGKILL would end this server's time as a primary, where that is
// not allowed; "" otherwise. A commit that waits for an acknowledgement holds up
// super_read_only for as long as it waits (docs/design.md §2). A replica that acknowledges
// will wait itself, without a limit, once it is promoted.
func unstoppable(f configs.Fencing, s mysqlcheck.SemiSync) string {
	waits := s.SourceEnabled && s.Timeout >= semiSyncForever
	if !waits && !s.ReplicaEnabled || f.KillServer != nil && *f.KillServer {
		return ""
	}
	return "false, and semi-sync waits without a limit: a deposed server with a commit that waits for its acknowledgement never becomes read-only, so only SIGKILL ends it"
}

// warn says so in the log, once.
func (h *health) warn(n *Node, s mysqlcheck.Sample) {
	if h.warned || s.SettingsAt == 0 {
		return
	}
	if problem := unstoppable(n.config.Fencing, s.Settings.SemiSync); problem != "" {
		h.warned = true
		n.log.Warn("fencing.kill_server", "warning", problem)
	}
}

// SPDX-License-Identifier: Apache-2.0

package election

import "time"

// Retries of the way back.
const (
	releaseRetry = 200 * time.Millisecond // the kernel lease runs out meanwhile
	demoteRetry  = time.Second
)

// giveUp is the way back of docs/design.md §2: release first, locally and unconditionally;
// then the server; then the others are told. It is told right after the release only when the
// server hangs: fencing it may take longer than anybody should wait.
func (m *Machine) giveUp(now Instant, reason Code) {
	m.abandon()
	if reason.recurs() && m.successor(now) != "" {
		m.standBack, m.failed, m.failedFor = now.Add(promoteStandBack*m.cfg.GatherTimeout), reason, ""
	}
	m.router.Shutdown() // the farewell comes when the release is done
	m.lease.renewAt, m.lease.renew, m.lease.lingerTo = 0, 0, 0
	m.fence = fence{since: now, reason: reason, early: reason == CodeServerHung || reason == CodeServerExited}
	switch reason {
	case CodeDeposed, CodeOutranked: // somebody has the right already
		m.fence.announced = true
	}
	m.fence.release = m.next()
	m.do(Release{Token: m.fence.release, Reason: reason})
	m.fence.demote = m.next()
	m.do(Demote{Token: m.fence.demote, Reason: reason})
	m.record(Record{Code: CodeReleased, Detail: string(reason)})
	if m.stop.token != 0 {
		m.setRole(RoleStopping)
	} else {
		m.setRole(RoleDemoting)
	}
	m.save()
}

// recurs reports whether a host that gives up for this reason would do so again at once if it
// were chosen again.
func (c Code) recurs() bool {
	switch c {
	case CodeServerHung, CodeServerFailing, CodeVerdictStale, CodeClaimFailed, CodePromoteFail, CodeNotWritable:
		return true
	default:
		return false
	}
}

func (m *Machine) releaseEnded(now Instant, e ReleaseEnded) {
	if !awaited(e.Token, m.fence.release) {
		return
	}
	m.fence.release = 0
	if e.Err != "" {
		m.record(Record{Code: CodeReleased, Detail: "release failed: " + e.Err})
		m.fence.retryAt = now.Add(releaseRetry)
		return
	}
	m.fence.released = true
	m.announceFence(now)
	m.do(Publish{})
	if m.role == RoleStopping {
		m.tryStop(now)
	}
}

func (m *Machine) demoteEnded(now Instant, e DemoteEnded) {
	if !awaited(e.Token, m.fence.demote) {
		return
	}
	m.fence.demote = 0
	if e.Err != "" {
		m.record(Record{Code: CodeDemoteFailed, Detail: e.Err})
		m.fence.retryAt = now.Add(demoteRetry)
		return
	}
	m.fence.demoted = now
	detail := string(m.fence.reason)
	if e.Killed {
		detail += ", killed"
	}
	m.record(Record{Code: CodeDemoted, Detail: detail})
	m.announceFence(now)
	switch m.role {
	case RoleDemoting:
		m.router.Startup(now)
		m.setRole(RoleReplica)
	case RoleStopping:
		m.tryStop(now)
	}
	m.save()
}

// announceFence says the farewell of this fence, once: when the VIP is surely off, and the
// server read-only or past asking. A node that stands again before that has nothing to say.
func (m *Machine) announceFence(now Instant) {
	f := &m.fence
	if f.announced || m.role.contending() || m.primary != m.cfg.Node || !f.released || (!f.early && f.demoted == 0) {
		return
	}
	m.fence.announced = true
	m.sayFarewell(now, m.fence.reason)
}

// retryFence repeats what of the way back has failed.
func (m *Machine) retryFence() {
	if m.role == RolePrimary || m.role.contending() {
		return
	}
	if m.fence.release == 0 && !m.fence.released {
		m.fence.release = m.next()
		m.do(Release{Token: m.fence.release, Reason: m.fence.reason})
	}
	if m.fence.demote == 0 && (m.role == RoleDemoting || m.role == RoleStopping || m.health.Writable) {
		m.fence.demote = m.next()
		m.do(Demote{Token: m.fence.demote, Reason: m.fence.reason})
	}
}

// fencing reports whether this node, about to give up, still has something that a successor
// would miss: the address, or a server that is just becoming read-only and whose last
// transactions nobody has seen. It asks for patience no longer than a fence may take.
func (m *Machine) fencing(now Instant) bool {
	f := &m.fence
	switch {
	case f.release != 0:
		return true
	case m.role != RoleDemoting && m.role != RoleStopping, f.early:
		return false
	default:
		return f.demoted == 0 && now < f.since.Add(m.cfg.FenceTimeout)
	}
}

// letGo takes the VIP off where there is no farewell to say.
func (m *Machine) letGo(now Instant, reason Code) {
	m.fence = fence{since: now, reason: reason, announced: true}
	m.fence.release = m.next()
	m.do(Release{Token: m.fence.release, Reason: reason})
	m.record(Record{Code: CodeReleased, Detail: string(reason)})
}

// enforceReadOnly demotes a server that is writable although it is not the primary.
func (m *Machine) enforceReadOnly() {
	if m.role != RoleReplica && m.role != RoleHeld {
		return
	}
	// A verdict on a server that does not answer repeats what was last seen of it.
	if m.term == 0 || m.health.State != HealthAlive || !m.health.Writable || m.fence.demote != 0 || m.fence.retryAt != 0 ||
		m.health.At <= m.fence.demoted {
		return
	}
	m.fence.reason, m.fence.announced = CodeNotPrimary, true
	m.fence.demote = m.next()
	m.record(Record{Code: CodeNotPrimary, Detail: "the server is writable"})
	m.do(Demote{Token: m.fence.demote, Reason: CodeNotPrimary})
}

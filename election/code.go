// SPDX-License-Identifier: Apache-2.0

package election

// Code names a move, or a refusal to move. It is at once the log key, the metric label and
// the status line, and a heading in docs/reasons.md.
type Code string

// What happened.
const (
	CodeStarted         Code = "started"
	CodeAdopted         Code = "adopted"          // first start: the one writable server with replicas
	CodeResumed         Code = "resumed"          // the primary's supervisor came back within its lease
	CodeStood           Code = "stood"            // doors 1-3 passed
	CodeSilence         Code = "silence"          // what opened door 1: nobody was heard
	CodeGathered        Code = "gathered"         // door 4 passed
	CodePromoted        Code = "promoted"         // door 5 passed
	CodeClaimed         Code = "claimed"          // the VIP is here
	CodeReleased        Code = "released"         // the VIP is off
	CodeDemoted         Code = "demoted"          // the server is read-only
	CodeDemoteFailed    Code = "demote_failed"    // it is not yet; tried again
	CodeFollowing       Code = "following"        // re-pointed to the primary
	CodeHandedOver      Code = "handed_over"      // the right was passed to a host that is ahead
	CodeSealed          Code = "sealed"           // promised a term; receiver stopped
	CodeTermRaised      Code = "term_raised"      // a primary overtook a promise that led to nothing
	CodeStopping        Code = "stopping"         // on the operator's order
	CodeStopped         Code = "stopped"          //
	CodeFarewell        Code = "farewell"         // the primary gave up its right and said so
	CodeNewPrimary      Code = "new_primary"      // another host is primary in a new term
	CodeAddressRestored Code = "address_restored" // a VIP that somebody removed was put back
	CodeRebuilding      Code = "rebuilding"       // the primary is being copied, since nobody was told of what only this server has
	CodeRebuilt         Code = "rebuilt"          // that is done
)

// Why the VIP was given up, or a promotion undone.
const (
	CodeServerExited   Code = "server_exited"
	CodeServerReplaced Code = "server_replaced" // by another process, between two looks
	CodeServerHung     Code = "server_hung"
	CodeServerFailing  Code = "server_failing" // disk full or read-only, and a successor is there
	CodeVerdictStale   Code = "verdict_stale"
	CodeLinkDown       Code = "link_down"
	CodeStalled        Code = "stalled"
	CodeDeposed        Code = "deposed"       // another primary, in a higher term
	CodeOutranked      Code = "outranked"     // a VRRP router of higher priority advertises
	CodeOperator       Code = "operator"      //
	CodeClaimFailed    Code = "claim_failed"  //
	CodePromoteFail    Code = "promote_fail"  //
	CodeRenewFailed    Code = "renew_failed"  //
	CodePrimaryBack    Code = "primary_back"  // the old primary speaks again; nothing was opened
	CodeNotWritable    Code = "not_writable"  // the primary's server went read-only under us
	CodeLeaseUndated   Code = "lease_undated" // a VIP found at start whose claim the journal cannot date
	CodeNotPrimary     Code = "not_primary"   // a writable server that is not the primary
)

// Why this node does not stand (doors 1-4).
const (
	CodeNoRight           Code = "no_right"            // the quorum has not given it to this node; it was asked
	CodePrimaryAnswers    Code = "primary_answers"     // VRRP is silent, the peer channel is not
	CodePrimaryRestarting Code = "primary_restarting"  // it said "back within the lease"
	CodeEventsFlow        Code = "events_flow"         // its server lives; only the supervisor is gone
	CodeCandidateExists   Code = "candidate_exists"    //
	CodeWaitingForHosts   Code = "waiting_for_hosts"   // after a power cut all must have answered
	CodeNoWritable        Code = "no_writable_server"  // first start
	CodeSeveralWritable   Code = "several_writable"    // first start
	CodeNoReplicas        Code = "writable_no_replica" // first start
	CodeNoVerdict         Code = "no_fresh_verdict"    //
	CodeIneligible        Code = "ineligible"          // door 2; the verdict's reasons follow
	CodeNoFailover        Code = "nofailover"          //
	CodeHeldErrant        Code = "held_errant"         //
	CodeOlderTerm         Code = "older_term"          // it has not come back from an earlier term
	CodeAlone             Code = "alone"               // hears no other host of three or more
	CodeStandingBack      Code = "standing_back"       // after a failed try
	CodeHeardByOthers     Code = "primary_heard_by_others"
	CodePaused            Code = "paused"   // by an operator; nobody asked for this failover
	CodeHoldOff           Code = "hold_off" // the role came from here a moment ago, or would go back there
	CodeNoSuccessor       Code = "no_successor"
	CodePromisedElsewhere Code = "promised_elsewhere"
	CodeGatherFailed      Code = "gather_failed"
	CodeFollowFailed      Code = "follow_failed"
)

// Why a held server is not rebuilt by itself (`durability.rejoin`).
const (
	CodeRejoinHold       Code = "rejoin_hold"        // the configuration says so
	CodeRejoinNoClone    Code = "rejoin_no_clone"    // MariaDB
	CodeRejoinUnproved   Code = "rejoin_unproved"    // the cluster record does not show that nobody was told
	CodeRejoinShutDown   Code = "rejoin_shut_down"   // an orderly shutdown tells waiting clients OK
	CodeRejoinEndUnknown Code = "rejoin_end_unknown" // how the server ended
	CodeRejoinUnsaved    Code = "rejoin_unsaved"     // its transactions are not in a file that can be replayed
	CodeRejoinFailed     Code = "rejoin_failed"      // the copy failed
)

// Why door 4 lets nobody through, or a promotion fails, in the words of package promote.
const (
	CodeNobodyHeard   Code = "nobody_heard"
	CodeDiverged      Code = "diverged"
	CodeErrant        Code = "errant_transactions"
	CodePurged        Code = "purged"
	CodeNotSealed     Code = "not_sealed"
	CodePromised      Code = "promised"
	CodeIncomplete    Code = "incomplete"
	CodeFetchFailed   Code = "fetch_failed"
	CodeApplierError  Code = "applier_error"
	CodeTimeout       Code = "timeout"
	CodeInterrupted   Code = "interrupted"
	CodeHookVeto      Code = "hook_veto"
	CodeCommandFailed Code = "command_failed"
	CodeRightLost     Code = "right_lost"
	CodeStillReadOnly Code = "still_read_only"
	CodeServerError   Code = "server_error"
)

// Why a seal or a request to stand is refused.
const (
	CodeStaleTerm    Code = "stale_term"
	CodePrimaryAlive Code = "primary_alive"
	CodeHearsPrimary Code = "hears_primary"
	CodeNotTakingIn  Code = "not_taking_part"
)

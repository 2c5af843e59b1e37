// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
)

const (
	// connectRetry is the pause between a receiver's attempts to connect.
	connectRetry = time.Second
	// retryCount is how many there are: ten days' worth.
	retryCount = 10 * 86400
	// defaultHeartbeat is the period of a channel that never had one.
	defaultHeartbeat = time.Second
	// followLimit is how long to wait for a new source's first answer.
	followLimit = 2 * time.Second
	// pollConnect is how often, at most, that wait looks.
	pollConnect = 5 * time.Millisecond
)

// Source is a server to read from.
type Source struct {
	Node       string
	Host       string
	Port       uint16
	ServerUUID string
	// Term is the one whose primary it is. A term below the promise is refused.
	Term uint64
	// Executed and Purged are where it stood, not long ago.
	Executed, Purged gtid.Set
	// Refresh, if not nil, asks it again: what looks errant may only be younger
	// than Executed.
	Refresh func(context.Context) (executed, purged gtid.Set, err error)
	// SemiSync says that it waits for acknowledgements: give them.
	SemiSync bool
	// Keep says that what was received may have been acknowledged: it is applied
	// before the relay log goes, though the source could send it again. Before it
	// has, that source may be lost.
	Keep bool
}

// refresh updates where the source stands, if it can be asked.
func (src *Source) refresh(ctx context.Context) error {
	if src.Refresh == nil {
		return nil
	}
	executed, purged, err := src.Refresh(ctx)
	if err != nil {
		return fmt.Errorf("ask %s for its position: %w", src.Node, err)
	}
	src.Executed, src.Purged = executed, purged
	return nil
}

// FollowResult is a server that follows.
type FollowResult struct {
	// Changed is false if it followed that source already.
	Changed bool
	// Receiver is its state when Follow returned, and ReceiverError why it is
	// still connecting, if there is a reason.
	Receiver      string
	ReceiverError error
}

// Follow makes the server read from src. It may be repeated, and changes nothing
// where nothing is wrong. The server must be read-only ([ErrWritable]).
//
// It is refused with [ErrErrant] if the server has transactions that src has not,
// with [ErrPurged] if src can no longer send what the server lacks, with
// [ErrPromised] if the server is sealed for a later term, and with
// [ErrWaitingCommits]. What was received is applied first unless src surely
// sends it again, because to set another source deletes the relay log.
//
// Of the channel it sets where the source is, who we are, and how often to
// reconnect; delay, TLS, filters, heartbeat period and all else stay. A server
// that had no channel gets the heartbeat and TLS of the one saved last by
// [Server.Finish].
func (s *Server) Follow(ctx context.Context, src Source) (FollowResult, error) {
	return s.follow(ctx, src, acksAsSet)
}

func (s *Server) follow(ctx context.Context, src Source, acks acknowledging) (FollowResult, error) {
	if err := s.mayFollow(src); err != nil && acks != acksNever { // silence comes first
		return FollowResult{}, fmt.Errorf("follow %s: %w", src.Node, err)
	}
	ctx, c, end, err := s.start(ctx, "follow "+src.Node, rankPrepare)
	if err != nil {
		return FollowResult{}, err
	}
	defer end()
	result, err := c.follow(ctx, src, acks)
	if err != nil {
		return result, fmt.Errorf("follow %s: %w", src.Node, err)
	}
	return result, nil
}

// mayFollow returns [ErrPromised] for a term below the promise.
func (s *Server) mayFollow(src Source) error {
	if promised := s.Promised(); src.Term < promised {
		return ErrPromised{promised, src.Term}
	}
	return nil
}

func (c *session) follow(ctx context.Context, src Source, acks acknowledging) (FollowResult, error) {
	half, serves, err := c.prepareReplica(ctx, src, acks)
	if err != nil {
		return FollowResult{}, err
	}
	if err := c.server.mayFollow(src); err != nil {
		return FollowResult{}, err
	}
	if err := c.server.awaitStop(ctx); err != nil {
		return FollowResult{}, err
	}
	p, ch, err := c.position(ctx)
	if err != nil {
		return FollowResult{}, err
	}
	st, err := c.state(ctx)
	if err != nil {
		return FollowResult{}, err
	}
	if !st.readOnly {
		return FollowResult{}, ErrWritable
	}
	if err := c.compatible(ctx, p, &src); err != nil {
		return FollowResult{}, err
	}
	leads := c.leads(ch, src)
	if leads && ch.receiver != ReceiverStopped && ch.applierRunning && serves {
		err := c.server.joinTerm(src)
		return FollowResult{Receiver: ch.receiver}, err
	}
	// A channel that leads there already keeps its relay log and its applier.
	keep := leads && ch.mayGoOn() && c.knows(p, src)
	if keep {
		keep, err = c.pause(ctx)
	}
	if err == nil && !keep {
		err = c.settle(ctx, &src)
	}
	if err == nil && half.source {
		err = c.semiSyncSourceOff(ctx, st)
	}
	if err == nil && src.SemiSync {
		err = c.setReplicaHalf(ctx, half, true)
	}
	if err != nil {
		return FollowResult{}, err
	}
	if keep {
		return c.startFollowing(ctx, src, mysqlcheck.StmtStartReceiver)
	}
	if err := c.point(ctx, ch, src); err != nil {
		return FollowResult{}, err
	}
	return c.startFollowing(ctx, src, mysqlcheck.StmtStartReplica)
}

// compatible returns why a server at p cannot follow src.
func (c *session) compatible(ctx context.Context, p Position, src *Source) error {
	errant := foreign(p.Executed, *src)
	if !errant.IsEmpty() {
		if err := src.refresh(ctx); err != nil {
			return err
		}
		errant = foreign(p.Executed, *src)
	}
	if !errant.IsEmpty() {
		return ErrErrant{errant}
	}
	if missing := src.Purged.Subtract(p.Received); !missing.IsEmpty() {
		return ErrPurged{missing}
	}
	return nil
}

// foreign returns what of set src has not. Transactions that src itself began are
// none of it, however old src.Executed is.
func foreign(set gtid.Set, src Source) gtid.Set {
	return set.Subtract(src.Executed).Subtract(set.BySource(src.ServerUUID))
}

// knows reports whether src has all that is in the relay log; what it has not is
// to be applied, and named, before anything else comes from it. What came from a
// MariaDB source lately does not tell that it is the source's own: there the
// applier finds it out.
func (c *session) knows(p Position, src Source) bool {
	return c.version.Flavor == mysqlcheck.MariaDB || foreign(p.Received, src).IsEmpty()
}

// leads reports whether the channel leads to src the way it should.
func (c *session) leads(ch *channel, src Source) bool {
	return ch != nil && ch.host == src.Host && ch.port == src.Port && ch.user == c.server.cfg.Replication.User && ch.autoPosition &&
		ch.connectRetry == connectRetry && (c.version.Flavor != mysqlcheck.MySQL || ch.retryCount == retryCount) &&
		(c.server.cfg.Replication.TLS == nil || ch.tls) && ch.receiverError.Number != erAccessDenied // perhaps the password is a new one
}

// mayGoOn reports whether nothing but the receiver has to be started again. What
// made one stop by itself may be in the relay log, unless it only got no
// connection.
func (ch *channel) mayGoOn() bool {
	switch n := ch.receiverError.Number; {
	case !ch.applierRunning:
		return false
	case ch.receiver != ReceiverStopped, n == 0, n == erLocked, n == erLockedMariaDB:
		return true
	default:
		return n >= crMin && n <= crMax
	}
}

// pause stops the receiver and nothing else. It returns false if the applier has
// ended meanwhile: on MariaDB, to start the receiver alone would then throw away
// what was received and not applied (see keepRelayLog).
func (c *session) pause(ctx context.Context) (ok bool, err error) {
	if err := c.stopReceiver(ctx); err != nil {
		return false, err
	}
	if err := c.server.awaitStop(ctx); err != nil {
		return false, err
	}
	ch, err := c.channel(ctx)
	return err == nil && ch != nil && ch.applierRunning, err
}

// settle stops the receiver and makes sure that src has, or will get from
// nobody else, nothing that is only in the relay log.
func (c *session) settle(ctx context.Context, src *Source) error {
	if err := c.stopReceiver(ctx); err != nil {
		return err
	}
	if err := c.server.awaitStop(ctx); err != nil {
		return err
	}
	if err := c.knowsReceived(ctx); err != nil && !errors.Is(err, errNotThere) {
		return err
	}
	p, _, err := c.position(ctx)
	if err != nil {
		return err
	}
	sentAgain := !src.Keep && src.Executed.Contains(p.Received) && p.Executed.Contains(src.Purged)
	if !sentAgain && !p.Executed.Contains(p.Received) {
		if _, err := c.drain(ctx, p.Received); err != nil {
			return fmt.Errorf("apply the relay log: %w", err)
		}
		if p, _, err = c.position(ctx); err != nil {
			return err
		}
	}
	return c.compatible(ctx, p, src)
}

// point sets the source of a server that has nothing to lose in its relay log.
// It starts nothing.
func (c *session) point(ctx context.Context, ch *channel, src Source) error {
	s := c.server
	options := mysqlcheck.SourceOptions{
		Host: src.Host, Port: src.Port,
		User:         s.cfg.Replication.User,
		ConnectRetry: connectRetry,
		RetryCount:   retryCount,
		Heartbeat:    defaultHeartbeat,
		TLS:          s.cfg.Replication.TLS,
	}
	if s.cfg.Replication.Password != nil {
		options.Password = s.cfg.Replication.Password()
	}
	hadTLS := false
	if ch != nil {
		if err := c.exec(ctx, mysqlcheck.StmtStopReplica); err != nil {
			return err
		}
		hadTLS = ch.tls
	} else {
		var err error
		if ch, err = loadChannel(s.cfg.StateDir); err != nil {
			return err
		}
		if ch != nil && ch.tls && options.TLS == nil {
			options.TLS = ch.savedTLS()
		}
	}
	if ch != nil && ch.heartbeat > 0 {
		options.Heartbeat = ch.heartbeat
	}
	options.PublicKey = options.TLS == nil && !hadTLS
	if err := c.setReplicaPosition(ctx); err != nil {
		return err
	}
	query, args := c.version.ChangeSource(options)
	err := c.execText(ctx, "change replication source", query, args...)
	return redact(err, options.Password)
}

// savedTLS returns the TLS options of a channel that is no more.
func (ch *channel) savedTLS() *mysqlcheck.SourceTLS {
	get := func(name string) string {
		if v, ok := ch.row["Source_"+name]; ok {
			return v
		}
		return ch.row["Master_"+name]
	}
	return &mysqlcheck.SourceTLS{
		CAFile: get("SSL_CA_File"), CertFile: get("SSL_Cert"), KeyFile: get("SSL_Key"),
		Verify: get("SSL_Verify_Server_Cert") == "Yes",
	}
}

// redact keeps a secret out of an error: a server quotes what it refuses, and
// cuts it short (MariaDB 10.11.19). So a few characters suffice to withhold it all.
func redact(err error, secret string) error {
	if err == nil || secret == "" || !strings.Contains(err.Error(), secret[:min(len(secret), 4)]) {
		return err
	}
	return fmt.Errorf("error %d of the server, whose text may quote a password", errorNumber(err))
}

// setReplicaPosition tells a MariaDB server that was a primary to go on after
// what it wrote itself: a replica asks for what follows gtid_slave_pos, which
// its own writes do not move. MASTER_DEMOTE_TO_SLAVE does the same since 10.10.
func (c *session) setReplicaPosition(ctx context.Context) error {
	if c.version.Flavor != mysqlcheck.MariaDB {
		return nil
	}
	st, err := c.state(ctx)
	if err != nil {
		return err
	}
	var text string
	if err := c.queryRow(ctx, mysqlcheck.StmtWrittenPosition, nil, &text); err != nil {
		return err
	}
	written, err := gtid.Parse(text)
	if err != nil || st.replicaPosition.Contains(written) {
		return err
	}
	return c.exec(ctx, mysqlcheck.StmtSetReplicaPosition, st.replicaPosition.Union(written).String())
}

// startFollowing starts what start says, and waits a moment for the source.
func (c *session) startFollowing(ctx context.Context, src Source, start mysqlcheck.Statement) (FollowResult, error) {
	st, err := c.state(ctx)
	if err != nil {
		return FollowResult{}, err
	}
	if !st.readOnly {
		return FollowResult{}, ErrWritable
	}
	if err := c.server.joinTerm(src); err != nil {
		return FollowResult{}, err
	}
	if err := c.exec(ctx, start); err != nil {
		return FollowResult{}, err
	}
	begin := mysqlcheck.Boottime()
	for {
		ch, err := c.channel(ctx)
		if err != nil {
			return FollowResult{Changed: true}, err
		}
		if ch == nil {
			return FollowResult{Changed: true}, errors.New("the channel is gone")
		}
		result := FollowResult{Changed: true, Receiver: ch.receiver}
		if ch.receiverError.Number != 0 {
			result.ReceiverError = ch.receiverError
		}
		switch {
		case ch.receiver == ReceiverStopped && result.ReceiverError != nil:
			return result, result.ReceiverError
		case ch.receiver == ReceiverRunning, result.ReceiverError != nil, mysqlcheck.Boottime()-begin > followLimit:
			return result, nil
		}
		if err := sleep(ctx, min(max((mysqlcheck.Boottime()-begin)/10, pollMin), pollConnect)); err != nil {
			return result, err
		}
	}
}

// joinTerm records whose term the server takes part in; a term below the
// promise is refused.
func (s *Server) joinTerm(src Source) error {
	return s.keepPromise(src.Term, func(p *Promise) { p.Term, p.Primary = src.Term, src.Node })
}

// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"highwater/mysqlcheck"
)

// errNotThere says that a replica cannot say yet what it had received.
var errNotThere = errors.New("the replica does not follow, or lags")

// AcknowledgeReceived makes this server, which acknowledges to src, do so also of
// what it had received before: nothing else does on MariaDB once two groups of
// commits wait, since no third one gets into the source's log (10.11.19). On MySQL
// any new commit does, and this does nothing.
//
// Whoever asks a MariaDB source for its log by file and offset, and not by GTID, has
// by that acknowledged what is before it. So all that was received is applied, the
// receiver asks once by offset, and then by GTID as ever. If it ends in between,
// [Server.Follow] sees to the rest.
func (s *Server) AcknowledgeReceived(ctx context.Context, src Source) error {
	ctx, c, end, err := s.start(ctx, "acknowledge what was received", rankPrepare)
	if err != nil {
		return err
	}
	defer end()
	if c.version.Flavor != mysqlcheck.MariaDB {
		return nil
	}
	if err := c.acknowledgeReceived(ctx, src); err != nil {
		return fmt.Errorf("acknowledge what was received: %w", err)
	}
	return nil
}

func (c *session) acknowledgeReceived(ctx context.Context, src Source) error {
	if err := c.server.mayFollow(src); err != nil {
		return err
	}
	ch, err := c.channel(ctx)
	if err != nil {
		return err
	}
	acknowledges, err := c.acknowledges(ctx)
	if err != nil {
		return err
	}
	if !acknowledges || !c.leads(ch, src) || !ch.applierRunning {
		return errNotThere
	}
	if err := c.applyReceived(ctx); err != nil {
		return err
	}
	if err := c.ask(ctx, src, mysqlcheck.StmtByOffset); err != nil {
		return err
	}
	if err := sleep(ctx, askPause); err != nil {
		return err
	}
	if err := c.applyReceived(ctx); err != nil {
		return err
	}
	return c.ask(ctx, src, mysqlcheck.StmtByGTID)
}

// askPause leaves a source the time to read what it was asked for.
const askPause = 10 * pollMin

// applyReceived stops the receiver and has everything applied. The source's file and
// offset then say where it stands.
func (c *session) applyReceived(ctx context.Context) error {
	if ok, err := c.pause(ctx); err != nil || !ok {
		return errors.Join(err, errNotThere)
	}
	p, _, err := c.position(ctx)
	if err != nil {
		return err
	}
	if err := c.awaitExecuted(ctx, p.Received, false); err != nil {
		return err
	}
	return c.awaitOffset(ctx)
}

// awaitOffset waits until a stopped receiver's relay log is applied up to its end, by
// the source's file and offset, or up to a transaction of which only a part has come:
// nobody was told that it was received, and its rest comes with the whole of it.
func (c *session) awaitOffset(ctx context.Context) error {
	for {
		ch, err := c.channel(ctx)
		switch {
		case err != nil:
			return err
		case ch == nil, ch.row["Relay_Master_Log_File"] == "", !ch.applierRunning:
			return errNotThere
		case ch.row["Relay_Master_Log_File"] == ch.row["Master_Log_File"] && ch.row["Exec_Master_Log_Pos"] == ch.row["Read_Master_Log_Pos"]:
			return nil
		case ch.receiver == ReceiverStopped:
			if torn, err := c.torn(ctx, ch); torn || err != nil {
				return err
			}
		}
		if err := sleep(ctx, pollMin); err != nil {
			return err
		}
	}
}

// partEvents are the types of those events that are in a transaction before its last
// one, and of those that are in none. Any other may end one.
var partEvents = map[string]bool{
	"Format_desc": true, "Rotate": true, "Gtid_list": true, "Binlog_checkpoint": true, "Start_encryption": true,
	"Gtid": true, "Annotate_rows": true, "Table_map": true,
	"Write_rows_v1": true, "Update_rows_v1": true, "Delete_rows_v1": true,
	"Write_rows_compressed_v1": true, "Update_rows_compressed_v1": true, "Delete_rows_compressed_v1": true,
	"Intvar": true, "RAND": true, "User var": true,
}

// torn reports whether no transaction is complete in the relay log of a stopped
// receiver after those that are applied: the applier then waits for more for ever.
func (c *session) torn(ctx context.Context, ch *channel) (bool, error) {
	query, err := c.text(mysqlcheck.StmtRelayLogEvents)
	if err != nil {
		return false, err
	}
	file, pos := ch.row["Relay_Log_File"], ch.row["Relay_Log_Pos"]
	name, number, numbered := strings.Cut(file, ".")
	n, err := strconv.Atoi(number)
	if _, damage := strconv.ParseUint(pos, 10, 64); !numbered || err != nil || damage != nil {
		return false, fmt.Errorf("read relay log: its applier is at %q of %q", pos, file)
	}
	for torn := true; ; n, pos = n+1, "4" {
		file = fmt.Sprintf("%s.%0*d", name, len(number), n)
		text := strings.NewReplacer("{file}", "'"+strings.ReplaceAll(file, "'", "''")+"'", "{pos}", pos).Replace(query)
		err := c.queryText(ctx, string(mysqlcheck.StmtRelayLogEvents), text, nil, func(rows *sql.Rows) error {
			var log, at, kind, server, end, info sql.NullString
			err := rows.Scan(&log, &at, &kind, &server, &end, &info)
			torn = torn && partEvents[kind.String]
			return err
		})
		switch {
		case errorNumber(err) == erErrorWhenExecuting && file != ch.row["Relay_Log_File"]:
			return torn, nil // there is no such file: the one before was the last
		case err != nil || !torn:
			return false, err
		}
	}
}

const erErrorWhenExecuting = 1220 // ER_ERROR_WHEN_EXECUTING_COMMAND

// knowsReceived makes sure that what this server says it has received is all of it:
// while a MariaDB receiver asks by offset the server does not keep a GTID of what is
// not applied yet.
func (c *session) knowsReceived(ctx context.Context) error {
	if c.version.Flavor != mysqlcheck.MariaDB {
		return nil
	}
	ch, err := c.channel(ctx)
	if err != nil || ch == nil || ch.autoPosition || ch.row["Relay_Master_Log_File"] == "" {
		return err
	}
	return c.awaitOffset(ctx)
}

// ask has the receiver ask for the log in another way.
func (c *session) ask(ctx context.Context, src Source, how mysqlcheck.Statement) error {
	for _, statement := range []mysqlcheck.Statement{mysqlcheck.StmtStopReplica, how} {
		if err := c.exec(ctx, statement); err != nil {
			return err
		}
	}
	_, err := c.startFollowing(ctx, src, mysqlcheck.StmtStartReplica)
	return err
}

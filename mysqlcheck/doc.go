// SPDX-License-Identifier: Apache-2.0

// Package mysqlcheck looks at one MySQL or MariaDB server and says what it is
// good for.
//
// The work is split where purity ends. A [Probe] turns SQL into a [Sample]:
// what the server said, and how long ago. [Assess] turns a Sample, the Verdict
// before it and a [Policy] into a [Verdict]; it reads no clock and touches
// nothing, so every judgement can be replayed from a journal. A [Watcher] sees
// the server process end, without asking it anything.
//
// Nothing here hangs on a server that accepts connections and never speaks:
// each call is bounded by its context, and below that by read and write
// timeouts on the connection. A statement that the server does not answer stays
// in flight on its own connection and is not joined by a second one; a frozen
// server therefore holds at most three of our connections, however long it is
// frozen.
//
// The SQL that differs between flavours and versions is in one table, behind
// [Version.SQL].
package mysqlcheck

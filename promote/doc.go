// SPDX-License-Identifier: Apache-2.0

// Package promote acts on the local MySQL or MariaDB server: it seals it,
// promotes it, demotes it, and makes it follow another one.
//
// A [Server] knows nothing of elections. It is told a term, and keeps one
// promise about it across restarts: a server sealed for term n starts no
// receiver for a lower term ([Server.Seal], [ErrPromised]). Everything else is a
// sequence of statements with three properties:
//
//   - bounded: every statement ends with its context. What the server would not
//     end by itself is killed on a second connection, so that nothing we gave up
//     takes effect later;
//   - checked: what was set is read back, and received transactions are compared
//     with executed ones in the function that would throw the former away;
//   - undone: a promotion that fails leaves the server read-only.
//
// What a promotion does, and in which order, is decided by the pure function
// [Plan]; [Server.Promote] runs it. The SQL that differs by flavour or version
// is in mysqlcheck's statement table.
//
// A Server runs one operation at a time. [Server.Seal], [Server.Promote] and
// [Server.Demote] interrupt an operation that only prepares a replica
// ([Server.Follow], [Server.Rejoin], [Server.Rebuild], [Server.Finish]).
package promote

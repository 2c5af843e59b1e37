// SPDX-License-Identifier: Apache-2.0

// Package control is the local socket between the command line and the supervisor: HTTP over a unix socket in the state directory.
//
// Who may open the socket may give orders: it belongs to root and the service's group, mode 0660, and each order carries the caller's user
// and process, as the kernel knows them, for the journal.
//
// A [Server] also keeps the state directory to itself: a second supervisor with the same one is refused by a lock that the kernel
// releases when the process ends, however it ends. So a socket found beside a free lock is a dead one, and is replaced.
package control

// SPDX-License-Identifier: Apache-2.0

// Package lab runs real servers for tests, demonstrations and benchmarks.
//
// StartServer starts one throwaway MySQL or MariaDB server. New builds whole hosts: each is a network, PID, mount and
// UTS namespace with a server inside, on a switch that lives in a network namespace of its own, with faults that can
// be injected and undone. The servers are unpacked by setup.sh.
//
// Everything ends with the program: processes carry a parent-death signal, and no namespace is pinned in the file
// system. What a crash can leave is a directory and a cgroup; Sweep removes those of programs that are gone.
package lab

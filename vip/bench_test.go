// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"
)

// One address of each family on a veth pair. What Claim takes includes the first
// frames, what Release takes the search for sockets.
func BenchmarkClaim(b *testing.B) {
	m := benchManager(b)
	for b.Loop() {
		if err := m.Claim(b.Context(), 30*time.Second); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := m.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkRenew(b *testing.B) {
	for _, fence := range []SessionFence{FenceNone, FenceNFT} {
		b.Run("fence="+string(fence), func(b *testing.B) {
			server, _ := newHosts(b)
			m := server.fenced(b, fence, "", vip4, vip6)
			if err := m.Claim(b.Context(), 30*time.Second); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := m.Renew(b.Context(), 30*time.Second); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// How long after the end of a lease the last connection was still accepted, and
// the first one refused; -benchtime 50x for fifty leases. The address is there all
// the while. Busy: two processes that do nothing else for each processor.
func BenchmarkFenceEnd(b *testing.B) {
	for _, busy := range []int{0, 2 * runtime.NumCPU()} {
		b.Run(fmt.Sprintf("busy=%d", busy), func(b *testing.B) {
			server, client := newHosts(b)
			m := server.fenced(b, FenceNFT, "", vip4)
			var l net.Listener
			err := server.ns.do(func() (err error) {
				l, err = net.Listen("tcp", ":3306")
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					c.Close()
				}
			}()
			if err := m.Claim(b.Context(), time.Hour); err != nil {
				b.Fatal(err)
			}
			for range busy {
				startChild(b, "burn", server)
			}
			var accepted, refused []float64
			for b.Loop() {
				until := bootTime() + 150*time.Millisecond
				if err := m.fence.extend(until); err != nil {
					b.Fatal(err)
				}
				var last, first time.Duration
				err := client.ns.do(func() error {
					for {
						before := bootTime()
						c, err := net.DialTimeout("tcp", "10.77.0.100:3306", 5*time.Second)
						first = bootTime()
						if err != nil {
							return err
						}
						last = before
						c.Close()
					}
				})
				if !told(err) {
					b.Fatal(err)
				}
				accepted = append(accepted, float64(last-until)/1e6)
				refused = append(refused, float64(first-until)/1e6)
			}
			slices.Sort(accepted)
			slices.Sort(refused)
			b.ReportMetric(accepted[len(accepted)-1], "last-accepted-max-ms")
			b.ReportMetric(refused[len(refused)/2], "first-refused-median-ms")
			b.ReportMetric(refused[len(refused)-1], "first-refused-max-ms")
		})
	}
}

func BenchmarkRelease(b *testing.B) {
	m := benchManager(b)
	for b.Loop() {
		b.StopTimer()
		if err := m.Claim(b.Context(), 30*time.Second); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := m.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// The sessions are with the IPv4 address, whose resets come before its removal.
func BenchmarkReleaseSessions(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m, server, client := benchHosts(b)
			var l net.Listener
			err := server.ns.do(func() (err error) {
				l, err = net.Listen("tcp", ":3306")
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						_, _ = io.Copy(io.Discard, c)
						c.Close()
					}()
				}
			}()
			for b.Loop() {
				b.StopTimer()
				if err := m.Claim(b.Context(), 30*time.Second); err != nil {
					b.Fatal(err)
				}
				conns := make([]net.Conn, n)
				err := client.ns.do(func() (err error) {
					for i := range conns {
						if conns[i], err = net.DialTimeout("tcp", "10.77.0.100:3306", 5*time.Second); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := m.Release(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				for _, c := range conns {
					c.Close()
				}
				b.StartTimer()
			}
		})
	}
}

func benchManager(b *testing.B) *Manager {
	m, _, _ := benchHosts(b)
	return m
}

func benchHosts(b *testing.B) (m *Manager, server, client *host) {
	server, client = newHosts(b)
	return server.manager(b, vip4, vip6), server, client
}

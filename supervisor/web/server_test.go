// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
)

// scene is a Snapshot that tests change between requests.
type scene struct {
	mu sync.Mutex
	s  Snapshot
}

func (s *scene) snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.s
	c.Status.Hosts = append([]Host(nil), s.s.Status.Hosts...)
	return c
}

func (s *scene) change(f func(*Snapshot)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.s)
}

func testSnapshot() Snapshot {
	st := healthy()
	st.Judge()
	return Snapshot{
		Status: st, LoopAge: 50 * time.Millisecond, Replicas: 0,
		Config:  ConfigInfo{Hash: "1f2e", LastReloadOK: true, LastReloadOKAt: time.Unix(1770000000, 5e8), SupervisorRevision: "abc"},
		Adverts: Adverts{Sent: 12, Accepted: 3456, Dropped: map[string]uint64{"checksum": 2, "ttl": 0}},
		Peers: []Peer{
			{Name: "db1", Up: true, RTT: 300 * time.Microsecond, HeardSeconds: Seconds(120 * time.Millisecond), Errors: map[string]uint64{"timeout": 1, "closed": 0}},
			{Name: "db3"},
		},
		PeerRefused: map[string]uint64{"plaintext": 3, "self": 0}, JournalWritten: 99, JournalDropped: 1, LogDropped: 7,
		Rejoins: map[string]uint64{"rebuilt": 1, "held": 2},
	}
}

func startServer(t *testing.T, metrics *Metrics) (url string, s *scene) {
	t.Helper()
	s = &scene{s: testSnapshot()}
	server, err := Listen(Config{Address: "127.0.0.1:0", Snapshot: s.snapshot, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server ended: %v", err)
		}
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return "http://" + server.Addr().String(), s
}

func request(t *testing.T, method, url string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header, string(text)
}

func TestHealthEndpoints(t *testing.T) {
	url, scene := startServer(t, NewMetrics())
	for _, tc := range []struct {
		name   string
		change func(*Snapshot, *Host)
		want   map[string]int // 200 for those named, 503 for the others
	}{
		{"replica", func(*Snapshot, *Host) {}, map[string]int{"/livez": 200, "/readyz": 200, "/replica": 200, "/replica?lag=5s": 200, "/read-only": 200}},
		{
			"lagging replica", func(_ *Snapshot, h *Host) { h.LagSeconds = Seconds(6 * time.Second) },
			map[string]int{"/livez": 200, "/readyz": 200, "/replica": 200, "/read-only": 200},
		},
		{
			"replica of unknown lag", func(_ *Snapshot, h *Host) { h.LagSeconds = nil },
			map[string]int{"/livez": 200, "/readyz": 200, "/replica": 200, "/read-only": 200},
		},
		{"dead replica", func(_ *Snapshot, h *Host) { h.Health = healthDead }, map[string]int{"/livez": 200, "/readyz": 200}},
		{
			"primary", func(_ *Snapshot, h *Host) { h.Role, h.VIPHeld, h.LeaseSeconds, h.Writable = rolePrimary, true, 2, true },
			map[string]int{"/livez": 200, "/readyz": 200, "/primary": 200, "/read-only": 200},
		},
		{
			"primary whose lease ended", func(_ *Snapshot, h *Host) { h.Role, h.VIPHeld, h.Writable = rolePrimary, true, true },
			map[string]int{"/livez": 200, "/readyz": 200},
		},
		{
			"primary read-only", func(_ *Snapshot, h *Host) { h.Role, h.VIPHeld, h.LeaseSeconds = rolePrimary, true, 2 },
			map[string]int{"/livez": 200, "/readyz": 200},
		},
		{"candidate", func(_ *Snapshot, h *Host) { h.Role = "candidate" }, map[string]int{"/livez": 200, "/readyz": 200}},
		{
			"not ready", func(s *Snapshot, _ *Host) { s.NotReady = "starting" },
			map[string]int{"/livez": 200, "/replica": 200, "/replica?lag=5s": 200, "/read-only": 200},
		},
		{"loop hangs", func(s *Snapshot, _ *Host) { s.LoopAge = time.Minute }, nil},
		{"nothing known", func(s *Snapshot, _ *Host) { s.Status.Hosts = nil }, map[string]int{"/livez": 200, "/readyz": 200}},
	} {
		scene.change(func(s *Snapshot) {
			*s = testSnapshot()
			tc.change(s, s.Status.Self())
		})
		for _, path := range []string{"/livez", "/readyz", "/primary", "/replica", "/replica?lag=5s", "/read-only"} {
			want := http.StatusServiceUnavailable
			if tc.want[path] != 0 {
				want = tc.want[path]
			}
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
				status, header, body := request(t, method, url+path)
				if status != want {
					t.Errorf("%s: %s %s = %d %s", tc.name, method, path, status, body)
				}
				if (method == http.MethodGet) != (body != "") {
					t.Errorf("%s: %s %s has body %q", tc.name, method, path, body)
				}
				if header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %s may be cached", method, path)
				}
				if method != http.MethodGet {
					continue
				}
				var a answer
				if err := json.Unmarshal([]byte(body), &a); err != nil || a.OK != (want == 200) || (a.Reason == "") != a.OK {
					t.Errorf("%s: %s answers %s", tc.name, path, body)
				}
			}
		}
	}
	if status, _, _ := request(t, http.MethodGet, url+"/replica?lag=soon"); status != http.StatusBadRequest {
		t.Errorf("lag=soon gives %d", status)
	}
}

func TestPortIsReadOnly(t *testing.T) {
	url, _ := startServer(t, NewMetrics())
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, "TRACE"} {
		for _, path := range []string{"/", "/metrics", "/v1/status", "/primary"} {
			if status, header, _ := request(t, method, url+path); status != http.StatusMethodNotAllowed || header.Get("Allow") == "" {
				t.Errorf("%s %s = %d", method, path, status)
			}
		}
	}
	if status, _, _ := request(t, http.MethodGet, url+"/v1/command"); status != http.StatusNotFound {
		t.Errorf("unknown path = %d", status)
	}
}

func TestStatusEndpoint(t *testing.T) {
	url, scene := startServer(t, NewMetrics())
	status, header, body := request(t, http.MethodGet, url+"/v1/status")
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %v", status, header)
	}
	var got Status
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Summary != scene.snapshot().Status.Summary || len(got.Hosts) != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestPage(t *testing.T) {
	url, scene := startServer(t, NewMetrics())
	scene.change(func(s *Snapshot) {
		s.Status.Hosts[2].Reasons = []string{"<script>alert(1)</script>"}
		s.Status.Notices = []string{"a notice"}
		s.Status.Running = &Failover{ID: "f-8", Kind: "failover"}
	})
	status, header, body := request(t, http.MethodGet, url+"/")
	if status != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
		t.Errorf("status %d, %v", status, header)
	}
	for _, want := range []string{
		scene.snapshot().Status.Summary, "<td>db2*</td>", `<tr class="ok">`, "a notice", "Running failover f-8", "Last failover f-7", "&lt;script&gt;",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	if strings.Contains(body, "<script>") {
		t.Error("page carries a script")
	}
}

// TestMetrics holds the complete output of this project's own metrics: names, help, labels and values.
func TestMetrics(t *testing.T) {
	m := NewMetrics()
	m.Failover("server_dead", ResultDone, "claim")
	m.Failover("server_dead", ResultUndone, "promotion")
	m.Refused("health", "lagging")
	m.Door("promotion", 650*time.Millisecond)
	m.Probe(3 * time.Millisecond)
	m.Lateness(150 * time.Microsecond)
	m.Renewed()
	for _, tc := range []struct {
		name   string
		change func(*Snapshot)
	}{
		{"metrics_replica.txt", func(s *Snapshot) {
			s.Status.Self().Warnings = []string{"durability_relaxed"}
			s.Quorum = &Quorum{
				Leader: "db1", RaftTerm: 9, Record: 12, Campaigns: 2, Elected: 1, Received: 4711,
				Dropped: map[string]uint64{"promised": 3}, Unsent: map[string]uint64{"late": 1},
			}
		}},
		{"metrics_primary.txt", func(s *Snapshot) {
			s.Status.Hosts[1].Self = false
			s.Status.Hosts[0].Self = true
			s.Status.Node, s.Replicas = "db1", 2
			s.Status.Hosts[0].Reasons = []string{"primary_read_only"}
			s.Config.LastReloadOK = false
		}},
		{"metrics_starting.txt", func(s *Snapshot) {
			*s = Snapshot{Status: Status{Cluster: "orders", Node: "db2", Version: "0.1.0"}, NotReady: "starting"}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			snapshot := testSnapshot()
			tc.change(&snapshot)
			server := &Server{cfg: Config{Metrics: m, Snapshot: func() Snapshot { return snapshot }}}
			registry, err := server.registry()
			if err != nil {
				t.Fatal(err)
			}
			problems, err := testutil.GatherAndLint(registry)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				t.Errorf("lint: %s: %s", p.Metric, p.Text)
			}
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			for _, f := range families {
				if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(f.GetName(), "highwater_") {
					t.Errorf("%s has no prefix", f.GetName())
				}
			}
			golden(t, tc.name, regexp.MustCompile(`goversion="[^"]*"`).ReplaceAll(text.Bytes(), []byte(`goversion="go"`)))
		})
	}
}

func TestMetricsEndpoint(t *testing.T) {
	url, scene := startServer(t, NewMetrics())
	status, header, body := request(t, http.MethodGet, url+"/metrics")
	if status != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		t.Errorf("status %d, %v", status, header)
	}
	for _, want := range []string{
		"\nhighwater_term 7\n", "\ngo_goroutines ", "\nprocess_open_fds ",
		`highwater_door_duration_seconds_count{door="completeness"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %q", want)
		}
	}
	scene.change(func(s *Snapshot) { s.Status.Term = 8 })
	if _, _, body := request(t, http.MethodGet, url+"/metrics"); !strings.Contains(body, "\nhighwater_term 8\n") {
		t.Error("a scrape shows an old moment")
	}
	// Words that are no labels, or come twice, cost nothing but themselves.
	scene.change(func(s *Snapshot) { s.Status.Hosts[1].Reasons = []string{"delayed", "\xff", "delayed"} })
	status, _, body = request(t, http.MethodGet, url+"/metrics")
	if status != http.StatusOK || !strings.Contains(body, "\nhighwater_term 8\n") || strings.Count(body, `highwater_verdict_reason{reason="delayed"} 1`) != 1 {
		t.Errorf("status %d with bad labels", status)
	}
}

func BenchmarkScrape(b *testing.B) {
	snapshot := testSnapshot()
	server := &Server{cfg: Config{Metrics: NewMetrics(), Snapshot: func() Snapshot { return snapshot }}}
	registry, err := server.registry()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	_ "embed" // the page
	"net/http"
)

//go:embed page.html
var pageText string

func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) {
	var page bytes.Buffer
	if err := s.page.Execute(&page, pageData(s.cfg.Snapshot().Status)); err != nil {
		s.log.Error("render status page", "error", err)
		http.Error(w, "render page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes())
}

// page is what the template shows.
type page struct {
	Status
	Columns []string
	Rows    []pageRow
	Lines   []string // failovers and notices
}

type pageRow struct {
	Class string
	Cells []string
}

func pageData(st Status) page {
	p := page{Status: st, Columns: columns}
	for i := range st.Hosts {
		h := &st.Hosts[i]
		p.Rows = append(p.Rows, pageRow{Class: classes[h.sgr()], Cells: h.cells()})
	}
	if st.Running != nil {
		p.Lines = append(p.Lines, "Running "+st.Running.sentence())
	}
	if st.LastFailover != nil {
		p.Lines = append(p.Lines, "Last "+st.LastFailover.sentence())
	}
	p.Lines = append(p.Lines, st.recent()...)
	for _, n := range st.Notices {
		p.Lines = append(p.Lines, "Note: "+n)
	}
	return p
}

// classes are the page's names of the table's colors.
var classes = map[string]string{sgrRed: "critical", sgrYellow: "warning", sgrGreen: "ok"}

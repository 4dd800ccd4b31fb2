package web

import (
	"context"
	"fmt"
	"net/http"
)

// once has one answer of h for all who ask for the same within a moment, and makes one at a time: however many ask for pages, and read
// them or don't, the prober has the CPU that it needs.
func (p *pages) once(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := fmt.Sprintf("once %q %q", r.URL.Path, r.URL.RawQuery)
		p.answer(w, r, p.shared.page(r.Context(), key, func(ctx context.Context) *bufferedPage {
			select {
			case p.turn <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			defer func() { <-p.turn }()
			page := newBufferedPage()
			p.processors.Work(func() { h.ServeHTTP(page, r.WithContext(ctx)) })
			return page
		}))
	})
}

// answer is a page that was made for somebody, or that could not be.
func (p *pages) answer(w http.ResponseWriter, r *http.Request, page *bufferedPage) {
	switch {
	case page != nil:
		page.writeTo(w) // outside: a slow reader holds a page, and no turn to make one
	case r.Context().Err() == nil: // who stays although it was not made has shared somebody's misfortune
		http.Error(w, "The page can't be made; the exporter's log says why.", http.StatusInternalServerError)
	}
}

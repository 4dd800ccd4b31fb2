package web

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

var (
	pageInfo metric.List

	descPageInfo = pageInfo.Gauge("pg_reliability_status_page_info", "1 where the exporter shows the status page and the stories of "+
		"incidents; url is where people reach it, as --web.external-url says, and empty where that is not set.", "url")
)

// PageInfo tells alerts and boards where the status page is; url ends with a slash, or is empty where nobody said.
func PageInfo(url string) prometheus.Collector {
	return metric.NewCollector(pageInfo, func(out *metric.Sink) { out.Add(descPageInfo, 1, url) })
}

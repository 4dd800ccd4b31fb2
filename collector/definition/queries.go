package definition

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/yamlfile"
)

// queriesRefresh is how often a query of postgres_exporter's is run that names no cache_seconds: nobody knows what it costs, so it
// is kept out of scrapes.
const queriesRefresh = 15 * time.Second

// LoadQueries reads a file of postgres_exporter's --extend.query-path as it is, and makes collectors of it. What can't be one
// is left out and told in refused, each a *FileError with its line; err is for a file that can't be read at all. taken has the
// metrics and collectors that there are already, with whose they are.
func LoadQueries(file string, taken func(name string) string) (defs []Definition, refused []error, err error) {
	data, err := readRegular(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read postgres_exporter's queries: %w. HINT: Name a file that the exporter's user may read", err)
	}
	doc, err := yamlfile.Parse(file, data, "Write all queries into one document, without \"---\" between them.")
	if errors.Is(err, yamlfile.ErrEmpty) {
		return nil, nil, nil // as postgres_exporter has it
	}
	if err != nil {
		return nil, nil, err
	}
	q := &queriesReader{Reader: yamlfile.Reader{File: file}, taken: taken}
	doc = yamlfile.Resolve(doc)
	if doc.Kind != yaml.MappingNode {
		return nil, nil, &FileError{File: file, Line: doc.Line, What: "the file is not a set of queries by name",
			Hint: "Write \"pg_orders:\" and below it query and metrics."}
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(doc.Content); i += 2 {
		d, ok := q.item(doc.Content[i], doc.Content[i+1])
		switch {
		case !ok:
		case seen[d.Name]:
			q.Fail(doc.Content[i], fmt.Sprintf("%s is there twice", d.Name), "Remove one of the two.")
		default:
			seen[d.Name] = true
			defs = append(defs, d)
		}
	}
	return defs, q.Errs, nil
}

// queriesReader makes a definition of each item; what it can't is noted.
type queriesReader struct {
	yamlfile.Reader
	taken func(name string) string
}

func (q *queriesReader) item(key, n *yaml.Node) (Definition, bool) {
	name := key.Value
	d := Definition{
		Name: "queries_" + strings.ToLower(name), Help: "The query " + name + " of --extend.query-path.", Scope: ScopeCluster, Enabled: true,
		Refresh: queriesRefresh, File: q.File, Line: key.Line,
	}
	before := len(q.Errs)
	if !collectorName.MatchString(d.Name) {
		q.Fail(key, fmt.Sprintf("query %.60q has a name that can't be a metric's", name), "Use letters, digits and _.")
		return d, false
	}
	f := q.Fields(n, "query "+name, "query", "metrics", "master", "cache_seconds", "runonserver")
	// master says that it runs in the main database alone: as all of these do.
	sql := "SELECT * FROM " + name
	line := key.Line
	if v := f["query"]; v != nil {
		sql, line = strings.TrimSpace(q.Text(v, "query")), v.Line
	}
	if k := statements(sql); k != 1 && len(q.Errs) == before {
		q.Fail(key, fmt.Sprintf("query %s has %d statements", name, k), "Write one; make another query of the others.")
	}
	if v := f["cache_seconds"]; v != nil {
		seconds, err := strconv.Atoi(q.Text(v, "cache_seconds"))
		if err != nil || seconds < 0 || seconds > 7*24*3600 {
			q.Fail(v, "cache_seconds of query "+name+" is no number of seconds", "Write a number such as 60.")
		}
		d.Refresh = max(d.Refresh, time.Duration(seconds)*time.Second)
	}
	d.Timeout = min(DefaultTimeout, d.Refresh)
	versions := Range{}
	if v := f["runonserver"]; v != nil {
		var err error
		if versions, err = semverRange(q.Text(v, "runonserver")); err != nil {
			q.Fail(v, fmt.Sprintf("runonserver of query %s: %s", name, err), "Write bounds such as \">=13.0.0 <17.0.0\"; || and != are not known.")
		}
	}
	d.Queries = []Query{{Versions: versions, SQL: sql, Line: line}}
	if len(q.Errs) > before { // nothing of it can be right
		return d, false
	}
	if v := f["metrics"]; v == nil {
		q.Fail(key, "query "+name+" has no metrics", "List its columns as in \"- total: {usage: GAUGE, description: ...}\"; a column that is "+
			"not listed is not shown.")
	} else {
		q.metrics(&d, name, v)
	}
	return d, len(d.Metrics) > 0
}

func (q *queriesReader) metrics(d *Definition, name string, n *yaml.Node) {
	var labels []string
	seen := map[string]bool{}
	for _, entry := range q.List(n, "metrics of query "+name, "List its columns as in \"- total: {usage: GAUGE, description: ...}\".") {
		entry = yamlfile.Resolve(entry)
		if entry.Kind != yaml.MappingNode {
			q.Fail(entry, "a metric of query "+name+" is not a column with its usage", "Write \"- total: {usage: GAUGE, description: ...}\".")
			continue
		}
		for i := 0; i+1 < len(entry.Content); i += 2 {
			column, spec := entry.Content[i], entry.Content[i+1]
			if seen[column.Value] {
				q.Fail(column, fmt.Sprintf("column %.60q of query %s is there twice", column.Value, name), "Remove one of the two.")
				continue
			}
			seen[column.Value] = true
			if m, is := q.column(name, column, spec, &labels); is {
				d.Metrics = append(d.Metrics, m)
			}
		}
	}
	if labels == nil {
		labels = []string{}
	}
	for i := range d.Metrics {
		d.Metrics[i].Labels = labels
	}
}

// column is one of a query's columns: a label is added to labels, a metric is returned.
func (q *queriesReader) column(query string, column, spec *yaml.Node, labels *[]string) (m Metric, is bool) {
	f := q.Fields(spec, "column "+column.Value, "usage", "description", "metric_mapping", "pg_version")
	usage := ""
	if v := f["usage"]; v != nil {
		usage = q.Text(v, "usage")
	}
	what := fmt.Sprintf("column %s of query %s", column.Value, query)
	m = Metric{Name: query + "_" + column.Value, Column: column.Value, Type: metric.Gauge, Line: column.Line, Help: "Column " + column.Value +
		" of the query " + query + "."}
	if v := f["description"]; v != nil {
		if text := strings.TrimSpace(q.Text(v, "description")); text != "" {
			m.Help = text
		}
	}
	switch usage {
	case "DISCARD":
		return m, false
	case "LABEL":
		if !metricName.MatchString(column.Value) || strings.HasPrefix(column.Value, "__") {
			q.Fail(column, what+" can't be a label's name", "Rename the column with AS: letters, digits and _.")
			return m, false
		}
		*labels = append(*labels, column.Value)
		return m, false
	case "GAUGE":
	case "COUNTER":
		m.Type = metric.Counter
	case "DURATION":
		q.Fail(column, what+" is a DURATION, which is not known", "Select extract(epoch FROM ...) * 1000 AS "+column.Value+
			"_milliseconds and make it a GAUGE.")
		return m, false
	case "HISTOGRAM", "MAPPEDMETRIC":
		q.Fail(column, what+" is a "+usage+", which is not known", "Select numbers, and make each a GAUGE or a COUNTER.")
		return m, false
	default:
		q.Fail(column, fmt.Sprintf("%s has the usage %.30q", what, usage), "Write LABEL, GAUGE, COUNTER or DISCARD.")
		return m, false
	}
	if !metricName.MatchString(m.Name) {
		q.Fail(column, what+" can't be a metric's name", "Rename the column with AS: letters, digits and _.")
		return m, false
	}
	if by := q.taken(m.Name); by != "" {
		q.Fail(column, fmt.Sprintf("metric %s is there already, from %s", m.Name, by), "Remove the column, or rename it with AS where it "+
			"means something else.")
		return m, false
	}
	return m, true
}

// oldestVersion is the first server_version_num that collectors are run on.
const oldestVersion = 130000

var semverBound = regexp.MustCompile(`^(>=|<=|>|<|=|==)?v?([0-9]+)\.([0-9]+)(?:\.[0-9]+)?$`)

// semverRange is a range as postgres_exporter writes it, ">=13.0.0 <17.0.0". Versions before 10 had other numbers; none is left.
func semverRange(text string) (Range, error) {
	var bounds []string
	for _, field := range strings.Fields(text) {
		m := semverBound.FindStringSubmatch(field)
		if m == nil {
			return Range{}, fmt.Errorf("%.30q is not a bound", field)
		}
		major, err := strconv.Atoi(m[2])
		switch {
		case err != nil:
			return Range{}, fmt.Errorf("%.30q is not a bound", field)
		case major >= 10:
			bounds = append(bounds, strings.Replace(m[1], "==", "=", 1)+m[2]+"."+m[3])
		case m[1] != ">=" && m[1] != ">":
			return Range{}, errors.New("it is for versions before 13 alone")
		}
	}
	if len(bounds) == 0 {
		return Range{}, nil
	}
	r, err := ParseRange(strings.Join(bounds, " "))
	if err == nil && r.Max > 0 && r.Max <= oldestVersion {
		err = errors.New("it is for versions before 13 alone")
	}
	return r, err
}

package dashboards

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// object is a piece of Grafana's JSON; its keys are written sorted.
type object map[string]any

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// panel is one panel of a board. Its methods change it and return it, so that a board reads as a list.
type panel struct {
	kind, title, about string
	width              int
	queries            []query
	options            object // what the kind draws
	defaults           object // fieldConfig.defaults
	custom             object // fieldConfig.defaults.custom
	overrides          []object
	transformations    []object
	links              []object
	mappings           []object
	steps              steps
	table              *columns // of tables
}

func newPanel(kind, title, about string) *panel {
	return &panel{
		kind: kind, title: title, about: about,
		options: object{}, defaults: object{"unit": "none"}, custom: object{}, steps: plain(neutral),
	}
}

// stat shows one number, or one for each query or series, as of now.
func stat(title, about string) *panel {
	p := newPanel("stat", title, about)
	p.options = object{
		"colorMode": "background", "graphMode": "none", "justifyMode": "center", "orientation": "auto", "textMode": "auto",
		"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
	}
	return p
}

// bars show one bar for each series, as of now.
func bars(title, about string) *panel {
	p := newPanel("bargauge", title, about)
	p.options = object{
		"displayMode": "basic", "orientation": "horizontal", "showUnfilled": true, "minVizHeight": 8, "maxVizHeight": 60, "minVizWidth": 0,
		"valueMode":     "color",
		"text":          object{"titleSize": 14, "valueSize": 18},
		"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
	}
	p.defaults["min"] = 0
	return p
}

// series shows how values went.
func series(title, about string) *panel {
	p := newPanel("timeseries", title, about)
	p.options = object{
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
	p.custom = object{
		"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": 10, "showPoints": "auto", "pointSize": 4,
		"spanNulls": false, "axisPlacement": "auto", "axisLabel": "", "stacking": object{"mode": "none", "group": "A"},
		"thresholdsStyle": object{"mode": "off"},
	}
	p.defaults["min"] = 0
	p.defaults["color"] = object{"mode": "palette-classic"}
	return p
}

// states shows which state each series was in, and when.
func states(title, about string) *panel {
	p := newPanel("state-timeline", title, about)
	p.options = object{
		"mergeValues": true, "showValue": "auto", "alignValue": "left", "rowHeight": 0.9,
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []string{}},
		"tooltip": object{"mode": "single", "sort": "none"},
	}
	p.custom = object{"lineWidth": 0, "fillOpacity": 80, "spanNulls": false}
	// By thresholds it would show their ranges in the place of our words.
	p.defaults["color"] = object{"mode": "palette-classic"}
	return p
}

// text shows words that never change, in Markdown.
func text(title, about, content string) *panel {
	p := newPanel("text", title, about)
	p.options = object{"mode": "markdown", "content": content, "code": object{"language": "plaintext", "showLineNumbers": false,
		"showMiniMap": false}}
	return p
}

// query adds a query with the legend of its series, as of now in panels that show nothing else.
func (p *panel) query(expr, legend string) *panel {
	instant := p.kind == "stat" || p.kind == "bargauge"
	if p.kind == "bargauge" { // Grafana hides the legend of a single bar, but not its display name
		p.defaults["displayName"] = legendLabel.ReplaceAllString(legend, "$${__field.labels.$1}")
	}
	p.queries = append(p.queries, query{expr: expr, legend: legend, format: "time_series", instant: instant})
	return p
}

// buckets adds a query for a histogram's buckets.
func (p *panel) buckets(expr string) *panel {
	p.queries = append(p.queries, query{expr: expr, legend: "{{le}}", format: "heatmap", instant: true})
	p.options["text"] = object{"titleSize": 11, "valueSize": 12} // there are many
	return p
}

// wide sets the width, of 24; panels without one share what is left of their line.
func (p *panel) wide(n int) *panel { p.width = n; return p }

func (p *panel) unit(u string) *panel { p.defaults["unit"] = u; return p }

func (p *panel) decimals(n int) *panel { p.defaults["decimals"] = n; return p }

// max is where an axis or bar ends, whatever the values.
func (p *panel) max(v float64) *panel { p.defaults["max"] = v; return p }

// softMax is where an axis ends that has nothing higher to show: a line of zeros has no scale of its own.
func (p *panel) softMax(v float64) *panel { p.custom["axisSoftMax"] = v; return p }

// noMin lets an axis begin where values do, below zero as well.
func (p *panel) noMin() *panel { delete(p.defaults, "min"); return p }

// thresholds colour values; in a graph they are lines as well.
func (p *panel) thresholds(s steps) *panel {
	p.steps = s
	if p.kind == "timeseries" {
		p.custom["thresholdsStyle"] = object{"mode": "dashed"}
	}
	return p
}

// none says what the absence of any value means.
func (p *panel) none(text string) *panel {
	p.defaults["noValue"] = text
	if p.kind == "stat" || p.kind == "bargauge" {
		p.mappings = append(p.mappings, object{"type": "special", "options": object{
			"match": "null+nan", "result": object{"text": text, "color": unknown, "index": 100},
		}})
	}
	return p
}

// word is shown in the place of a value.
func (p *panel) word(value float64, text, color string) *panel {
	p.mappings = append(p.mappings, mapping(value, text, color, len(p.mappings)))
	return p
}

// upTo is a word in the place of all values up to a limit.
func (p *panel) upTo(limit float64, text, color string) *panel {
	p.mappings = append(p.mappings, object{"type": "range", "options": object{
		"from": nil, "to": limit, "result": object{"text": text, "color": color, "index": len(p.mappings)},
	}})
	return p
}

func mapping(value float64, text, color string, index int) object {
	return wordFor(fmt.Sprint(value), text, color, index)
}

// of changes what one query's series look like.
func (p *panel) of(query string, properties ...property) *panel {
	p.overrides = append(p.overrides, override("byFrameRefID", query, properties))
	return p
}

// called changes what the series or column of a name looks like.
func (p *panel) called(name string, properties ...property) *panel {
	p.overrides = append(p.overrides, override("byName", name, properties))
	return p
}

// stacked piles the series up: their sum matters.
func (p *panel) stacked() *panel {
	p.custom["stacking"] = object{"mode": "normal", "group": "A"}
	p.custom["fillOpacity"] = 40
	return p
}

// ranked lists the series with the highest of something first, and its value: "mean" or "max". There is room for a few, and the others are
// scrolled to.
func (p *panel) ranked(by, name string) *panel {
	p.options["legend"] = object{"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": []string{by},
		"sortBy": name, "sortDesc": true}
	return p
}

// ofServers says whether a graph has lines for each server, which may be many.
func (p *panel) ofServers() bool {
	return p.kind == "timeseries" && slices.ContainsFunc(p.queries, func(q query) bool { return strings.Contains(q.legend, "{{instance}}") })
}

// inOrder lists the series as they are asked for: where limits are drawn beside what is used, they would be the highest.
func (p *panel) inOrder() *panel {
	p.ranked("max", "Max")
	legend := p.options["legend"].(object)
	delete(legend, "sortBy")
	delete(legend, "sortDesc")
	return p
}

// legendRight puts the list of series beside the graph.
func (p *panel) legendRight() *panel {
	p.options["legend"].(object)["placement"] = "right"
	return p
}

// steppy draws what holds until it changes.
func (p *panel) steppy() *panel { p.custom["lineInterpolation"] = "stepAfter"; return p }

// renamed takes what a regular expression matches out of the series' names, or replaces it. Without slashes around it
// Grafana looks for names that match as a whole.
func (p *panel) renamed(pattern, by string) *panel {
	p.transformations = append(p.transformations, object{"id": "renameByRegex", "options": object{"regex": pattern, "renamePattern": by}})
	return p
}

// every is the shortest step: how often the newest query's counters move or are read, where that is not in each scrape.
// $__rate_interval follows it; over less a rate would be zero now and double then.
func (p *panel) every(interval string) *panel {
	p.queries[len(p.queries)-1].every = interval
	return p
}

// shortNames keeps both ends of long names: state timelines cut them where they differ, in front.
func (p *panel) shortNames() *panel { return p.renamed("/^(.{14}).{4,}(.{12})$/", "$1…$2") }

// option sets one of the kind's own.
func (p *panel) option(name string, value any) *panel { p.options[name] = value; return p }

// runbooks links to what to do when these alerts fire.
func (p *panel) runbooks(s *sources, alerts ...string) *panel {
	for _, a := range alerts {
		p.links = append(p.links, s.runbook(a))
	}
	return p
}

// leads makes the values links to a board, for the same time and choice.
func (p *panel) leads(title, uid string) *panel {
	p.defaults["links"] = []object{leadTo(title, uid, "${instance:queryparam}")}
	return p
}

// leadTo is a link to a board for a choice of instances.
func leadTo(title, uid, instances string) object {
	return object{"title": title, "url": "/d/" + uid + "?${datasource:queryparam}&${job:queryparam}&${cluster:queryparam}&" + instances +
		"&${__url_time_range}"}
}

// property of a series or a column.
type property struct {
	id    string
	value any
}

func override(matcher, what string, properties []property) object {
	list := []object{}
	for _, p := range properties {
		list = append(list, object{"id": p.id, "value": p.value})
	}
	return object{"matcher": object{"id": matcher, "options": what}, "properties": list}
}

func unit(u string) property { return property{"unit", u} }
func colored(color string) property {
	return property{"color", object{"mode": "fixed", "fixedColor": color}}
}
func judged(s steps) property            { return property{"thresholds", s.object()} }
func links(all ...object) property       { return property{"links", all} }
func width(pixels int) property          { return property{"custom.width", pixels} }
func mapped(mappings ...object) property { return property{"mappings", mappings} }
func lineStyle(dash ...int) property {
	return property{"custom.lineStyle", object{"fill": "dash", "dash": dash}}
}

func (p *panel) object(id, x, y, w, h int) object {
	if p.table != nil {
		p.table.complete(p)
	}
	if p.ofServers() && p.options["legend"].(object)["displayMode"] == "list" {
		p.ranked("max", "Max")
	}
	defaults := object{"custom": p.custom, "mappings": p.mappings, "thresholds": p.steps.object(), "color": object{"mode": "thresholds"}}
	if p.mappings == nil {
		defaults["mappings"] = []object{}
	}
	for k, v := range p.defaults {
		defaults[k] = v
	}
	o := object{
		"id": id, "type": p.kind, "title": p.title, "description": p.about, "datasource": prometheus(),
		"gridPos": object{"x": x, "y": y, "w": w, "h": h}, "options": p.options,
		"fieldConfig": object{"defaults": defaults, "overrides": orEmpty(p.overrides)},
	}
	if p.kind == "text" {
		delete(o, "datasource")
		delete(o, "fieldConfig")
		return o
	}
	targets := []object{}
	for i, q := range p.queries {
		targets = append(targets, q.object(refID(i)))
	}
	o["targets"] = targets
	if len(p.transformations) > 0 {
		o["transformations"] = p.transformations
	}
	if len(p.links) > 0 {
		o["links"] = p.links
	}
	return o
}

func orEmpty(list []object) []object {
	if list == nil {
		return []object{}
	}
	return list
}

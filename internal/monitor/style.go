package monitor

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// style is how things look. Whatever a colour says is said in words, too.
type style struct {
	ascii  bool
	tones  map[tone]lipgloss.Style
	label  lipgloss.Style
	badge  map[tone]lipgloss.Style
	title  lipgloss.Style
	plains bool // no colours at all
}

// newStyle uses the terminal's own 16 colours: they are chosen to be readable on its background.
func newStyle(ascii, colour bool) style {
	fg := func(c string) lipgloss.Style { return lipgloss.NewStyle().Foreground(lipgloss.Color(c)) }
	badge := func(c string) lipgloss.Style {
		return lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color("0")).Background(lipgloss.Color(c))
	}
	return style{
		ascii: ascii, plains: !colour,
		tones: map[tone]lipgloss.Style{
			plain: lipgloss.NewStyle(), good: fg("2"), warning: fg("3"), critical: fg("1").Bold(true), faint: lipgloss.NewStyle().Faint(true),
		},
		label: lipgloss.NewStyle().Faint(true),
		badge: map[tone]lipgloss.Style{plain: badge("7"), good: badge("2"), warning: badge("3"), critical: badge("1")},
		title: lipgloss.NewStyle().Bold(true),
	}
}

func (st style) paint(t tone, text string) string {
	if st.plains || t == plain {
		return text
	}
	return st.tones[t].Render(text)
}

// labelWidth has room for "Disk backups".
const labelWidth = 13

func (st style) named(label, text string) string {
	const width = labelWidth
	label += strings.Repeat(" ", max(1, width-len(label)))
	if st.plains {
		return label + text
	}
	return st.label.Render(label) + text
}

// chip is a word that catches the eye. Its brackets are for terminals without colours.
func (st style) chip(t tone, word string) string {
	word = "[" + word + "]"
	if st.plains {
		return word
	}
	return st.badge[t].Render(word)
}

func (st style) strong(text string) string {
	if st.plains {
		return text
	}
	return st.title.Render(text)
}

// fit cuts a line to the width and says that it did.
func (st style) fit(line string, width int) string {
	return ansi.Truncate(line, width, st.cut())
}

// list joins as many parts as fit into the width, the first one in any case, and says that it left some out.
func (st style) list(width int, separator string, parts ...string) string {
	var b strings.Builder
	for i, part := range parts {
		more := part
		if i > 0 {
			more = separator + part
		}
		room := width - ansi.StringWidth(b.String()) - ansi.StringWidth(more)
		if i > 0 && (room < 0 || room < 2 && i < len(parts)-1) { // a blank and the mark
			return b.String() + " " + st.cut()
		}
		b.WriteString(more)
	}
	return b.String()
}

// cut is the mark where something is missing.
func (st style) cut() string {
	if st.ascii {
		return "~"
	}
	return "…"
}

// rule is a line across the screen with a title in it.
func (st style) rule(title string, width int) string {
	dash := "─"
	if st.ascii {
		dash = "-"
	}
	line := strings.Repeat(dash, 2) + " " + title + " "
	return st.paint(faint, line+strings.Repeat(dash, max(0, width-ansi.StringWidth(line))))
}

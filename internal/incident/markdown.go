package incident

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Markdown is a story to paste into a post-mortem.
func Markdown(w *Window, s Story, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s of %s, %s UTC\n\n%s\n\n", Titled(string(w.Kind)), inText(w.Target), w.Start.UTC().Format(time.DateTime),
		inText(s.Sentence))
	length := lasting(time.Duration(w.Seconds(now) * float64(time.Second)))
	if w.End.IsZero() {
		length += " so far"
	}
	fmt.Fprintf(&b, "- Cause: `%s`, %s\n- Length: %s\n", s.Cause, map[bool]string{true: "not known", false: string(s.Sure)}[s.Sure == NotSure],
		length)
	if w.Reason != "" {
		fmt.Fprintf(&b, "- Clients saw: `%s`\n", w.Reason)
	}
	if len(w.Restarts) > 0 {
		fmt.Fprintf(&b, "- Restarts: %s\n", strings.Join(w.Restarts, ", "))
	}
	for _, also := range s.Also {
		fmt.Fprintf(&b, "- %s\n", inText(Titled(also)))
	}
	if len(s.Evidence) > 0 {
		b.WriteString("\n## Evidence\n\n| Time (UTC) | From its start | Source | What |\n|---|---|---|---|\n")
		for _, e := range s.Evidence {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", e.At.UTC().Format("15:04:05.000"), Offset(e.At, w.Start), e.Source, inCode(e.Text))
		}
	}
	if len(s.Missing) > 0 {
		b.WriteString("\n## What would have told more\n\n")
		for _, m := range s.Missing {
			fmt.Fprintf(&b, "- %s\n", inText(Titled(m)))
		}
	}
	return strings.Map(func(r rune) rune { // who reads it in a terminal is not to be moved by what a server said
		if unicode.IsControl(r) && r != '\n' {
			return ' '
		}
		return r
	}, b.String())
}

// Titled begins a sentence.
func Titled(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// Offset is a moment from another, such as +1.300 s.
func Offset(at, from time.Time) string {
	return strings.Replace(fmt.Sprintf("%+.3f s", at.Sub(from).Seconds()), "-", "\u2212", 1)
}

// inText keeps what comes from a server from being more than text.
func inText(text string) string {
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "<", "&lt;", ">", "&gt;", "[", `\[`, "]", `\]`, "|", `\|`, "#",
		`\#`, "!", `\!`, "\n", " ").Replace(text)
}

// inCode is a text in a table's cell, as it is.
func inCode(text string) string {
	return "`" + strings.NewReplacer("`", "'", "|", "¦", "\n", " ").Replace(text) + "`"
}

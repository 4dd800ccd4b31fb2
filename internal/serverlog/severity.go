package serverlog

// Severity of a message, in the server's order.
type Severity uint8

const (
	// UnknownSeverity is of no message: its text could not be read.
	UnknownSeverity Severity = iota
	Debug
	Info
	Notice
	Warning
	// LogLine is the server's LOG: what an administrator may want to know.
	LogLine
	// Error ended a statement.
	Error
	// Fatal ended a session, or a process.
	Fatal
	// Panic ended all sessions.
	Panic

	severities = int(Panic) + 1
)

var severityNames = [severities]string{"unknown", "debug", "info", "notice", "warning", "log", "error", "fatal", "panic"}

// String is the word of the metrics' label.
func (s Severity) String() string { return severityNames[min(int(s), severities-1)] }

// part is a line of a message of the format stderr that is not its first.
type part uint8

const (
	notAPart part = iota
	partDetail
	partHint
	partQuery
	partContext
	partStatement
)

// severityOf reads the server's word, in any language of the table.
func (w *words) severityOf(word []byte) Severity {
	// What nearly all messages are.
	switch string(word) {
	case "LOG":
		return LogLine
	case "ERROR":
		return Error
	case "FATAL":
		return Fatal
	case "DEBUG1", "DEBUG2", "DEBUG3", "DEBUG4", "DEBUG5":
		return Debug
	}
	return w.severities[string(word)]
}

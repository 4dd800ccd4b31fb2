package sqltext

// Show is what of a statement may be shown.
type Show string

const (
	// None: no statement at all.
	None Show = "none"
	// Masked: without literals and comments.
	Masked Show = "masked"
	// Full: as it is.
	Full Show = "full"
)

// Statement is what of it may be shown, on one line of at most limit bytes. One that was masked when it was kept stays so.
func (s Show) Statement(sql string, limit int) string {
	switch s {
	case None:
		return ""
	case Full:
		return Plain(sql, limit)
	}
	return Plain(Mask(sql[:min(len(sql), 4*limit)]), limit) // lines end comments: masked before they are joined
}

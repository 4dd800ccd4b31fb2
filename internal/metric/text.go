package metric

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// TextFormat is one of the formats that are text, which are written part by part.
type TextFormat int

// The formats that are text: Prometheus' own, and OpenMetrics.
const (
	Text TextFormat = iota
	OpenMetrics
	textFormats
)

// TextFormatOf is the text format that was negotiated, if it is one of those.
func TextFormatOf(f expfmt.Format) (TextFormat, bool) {
	for t, of := range map[TextFormat][]expfmt.Format{
		Text: {expfmt.FmtText}, OpenMetrics: {expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtOpenMetrics_1_0_0},
	} {
		for _, prefix := range of {
			if strings.HasPrefix(string(f), string(prefix)) { // how names are escaped stands behind it
				return t, true
			}
		}
	}
	return 0, false
}

// Compressor is a writer that compresses, and that can take what was compressed before.
type Compressor interface {
	io.Writer
	// WriteAlone writes texts so that their compressed form, one for all of them, depends on nothing around it, and returns that form.
	WriteAlone(texts ...[]byte) (Compressed, error)
	// WriteAgain writes what WriteAlone of a Compressor of the same kind has returned.
	WriteAgain(Compressed) error
}

// Compressed is texts in a form that only the kind of Compressor knows that made it. It is never written to.
type Compressed any

// worthKeeping is how long a text must be, in bytes, for its compressed form to be kept: each begins with tables of its own.
const worthKeeping = 2 << 10

// rendering is a family's text. One that was compressed, alone or in a group, is kept in that form alone: it is a tenth of the text, and
// nobody else asks for the text where all pages are compressed.
type rendering struct {
	text         []byte // nil where it is kept compressed alone
	size, header int32  // bytes of the text, and of its lines that tell of the family: # HELP and # TYPE
	forms        *forms // of a long text; nil before one is there
	// group is what was compressed last that begins with this text, where it is a short one.
	group atomic.Pointer[group]
}

// forms are a long text's compressed forms, with the lines that tell of the family and without; nil before they are asked for.
type forms struct{ whole, body Compressed }

// compressed is a long text's form; nil where there is none.
func (r *rendering) compressed(first bool) Compressed {
	switch {
	case r.forms == nil:
		return nil
	case first:
		return r.forms.whole
	}
	return r.forms.body
}

// pressed is the rendering without the text, of which one form is there now.
func (r *rendering) pressed(first bool, c Compressed) *rendering {
	n := &rendering{size: r.size, header: r.header, forms: &forms{}}
	if r.forms != nil {
		*n.forms = *r.forms
	}
	if first {
		n.forms.whole = c
	} else {
		n.forms.body = c
	}
	return n
}

// piece is a rendering of rows on a page.
type piece struct {
	*rendering
	rows   *rows
	format TextFormat
	first  bool // of its family; the lines that tell of the family are left out of others
}

// length is how long what is shown is, in bytes.
func (p piece) length() int {
	if p.first {
		return int(p.size)
	}
	return int(p.size - p.header)
}

// shown is the text, made anew where it is kept compressed.
func (p piece) shown(o *output) ([]byte, error) {
	text := p.text
	if text == nil {
		again, err := p.rows.render(o, p.format, nil)
		if err != nil {
			return nil, err
		}
		text = again.text
	}
	if p.first {
		return text, nil
	}
	return text[p.header:], nil
}

// light is the piece without its text, which its rows keep from now on.
func (p piece) light() piece {
	p.rendering = &rendering{size: p.size, header: p.header}
	p.rows.written[p.format].Store(p.rendering)
	return p
}

// group is small pieces that stood one after another and were compressed together.
type group struct {
	pieces     []piece
	compressed Compressed
}

// render writes a family with the library's own writer. All our names are such that no format has to escape them.
func (t TextFormat) render(out *bytes.Buffer, f *dto.MetricFamily) error {
	var err error
	if t == OpenMetrics {
		_, err = expfmt.MetricFamilyToOpenMetrics(out, f)
	} else {
		_, err = expfmt.MetricFamilyToText(out, f)
	}
	return err
}

// header is how many bytes of a family's text tell of the family.
func header(text []byte) (n int) {
	for bytes.HasPrefix(text[n:], []byte("# ")) {
		end := bytes.IndexByte(text[n:], '\n')
		if end < 0 {
			break
		}
		n += end + 1
	}
	return n
}

// output is where a page goes. A family is complete in memory first: one that can't be written must not be on the page by half.
type output struct {
	to       io.Writer
	compress Compressor // nil where the page is not compressed
	memory   bytes.Buffer
	small    []piece // that were put last, and are not written yet
	texts    [][]byte
}

// put writes a piece that other pages have, too, and returns a long one's compressed form.
func (o *output) put(p piece) (Compressed, error) {
	if o.compress != nil && p.length() < worthKeeping {
		o.small = append(o.small, p)
		return nil, nil
	}
	text, err := p.shown(o)
	if err != nil {
		return nil, err
	}
	if o.compress == nil {
		_, err = o.to.Write(text)
		return nil, err
	}
	if err := o.flush(); err != nil {
		return nil, err
	}
	return o.compress.WriteAlone(text)
}

// again writes a long piece's compressed form.
func (o *output) again(c Compressed) error {
	if err := o.flush(); err != nil {
		return err
	}
	return o.compress.WriteAgain(c)
}

// flush writes the small pieces.
func (o *output) flush() (err error) {
	size := 0
	for _, p := range o.small {
		size += p.length()
	}
	if size >= worthKeeping {
		err = o.together(o.small)
	} else {
		err = o.apart(o.small)
	}
	o.small = o.small[:0]
	return err
}

// apart writes small pieces that are not worth more.
func (o *output) apart(pieces []piece) error {
	for _, p := range pieces {
		text, err := p.shown(o)
		if err == nil {
			_, err = o.to.Write(text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// together writes small pieces that were perhaps compressed together before.
func (o *output) together(pieces []piece) error {
	if g := pieces[0].group.Load(); g != nil && slices.Equal(g.pieces, pieces) {
		return o.compress.WriteAgain(g.compressed)
	}
	o.texts = o.texts[:0]
	for _, p := range pieces {
		text, err := p.shown(o)
		if err != nil {
			return err
		}
		o.texts = append(o.texts, text)
	}
	compressed, err := o.compress.WriteAlone(o.texts...)
	if err == nil {
		g := &group{make([]piece, len(pieces)), compressed}
		for i, p := range pieces {
			g.pieces[i] = p.light()
		}
		g.pieces[0].group.Store(g)
	}
	clear(o.texts)
	return err
}

// Write writes families as the library would. A family that can't be written is left out; the error names each.
func (t TextFormat) Write(w io.Writer, families []*Family) error {
	var errs []error
	out := &output{to: w}
	out.compress, _ = w.(Compressor)
	for _, f := range families {
		for i, p := range f.parts {
			if err := p.write(out, f, t, i == 0); err != nil {
				errs = append(errs, fmt.Errorf("write metric %s: %w", f.Name, err))
				break
			}
		}
	}
	errs = append(errs, out.flush())
	if t == OpenMetrics {
		_, err := expfmt.FinalizeOpenMetrics(w)
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(errs...)
}

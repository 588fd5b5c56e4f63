package stomp

import (
	"bytes"
	"encoding/xml"
	"strings"

	"github.com/hermodmq/hermod/broker"
)

// appendMapXML appends a map as XStream's XML.
func appendMapXML(dst []byte, t broker.Table) []byte {
	e := elementOf(t)
	return e.appendXML(dst, 0)
}

func (e *element) appendXML(dst []byte, depth int) []byte {
	const indent = "                                                  "
	dst = append(dst, indent[:min(2*depth, len(indent))]...)
	dst = append(append(append(dst, '<'), e.name...), '>')
	if len(e.parts) == 0 {
		if e.text == "" {
			return append(dst[:len(dst)-1], "/>"...)
		}
		b := bytes.NewBuffer(dst)
		_ = xml.EscapeText(b, []byte(e.text)) // a buffer takes everything
		dst = b.Bytes()
	} else {
		for i := range e.parts {
			dst = e.parts[i].appendXML(append(dst, '\n'), depth+1)
		}
		dst = append(dst, '\n')
		dst = append(dst, indent[:min(2*depth, len(indent))]...)
	}
	return append(append(append(dst, "</"...), e.name...), '>')
}

// parseMapXML reads what appendMapXML writes.
func parseMapXML(body []byte) (broker.Table, error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, errMap
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		root, err := readElement(d, start.Name.Local, 0)
		if err != nil {
			return nil, errMap
		}
		if !strings.HasSuffix(root.name, "map") {
			return nil, errMap
		}
		return root.table(0)
	}
}

// readElement reads what is behind a start tag. An entry is a level of its own.
func readElement(d *xml.Decoder, name string, depth int) (element, error) {
	e := element{name: name}
	if depth > 2*maxMapDepth {
		return e, errMap
	}
	var text []byte
	for {
		tok, err := d.Token()
		if err != nil {
			return e, err
		}
		switch tok := tok.(type) {
		case xml.CharData:
			text = append(text, tok...)
		case xml.StartElement:
			part, err := readElement(d, tok.Name.Local, depth+1)
			if err != nil {
				return e, err
			}
			e.parts = append(e.parts, part)
		case xml.EndElement:
			if len(e.parts) == 0 {
				e.text = string(text)
			}
			return e, nil
		}
	}
}

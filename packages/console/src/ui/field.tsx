import { useId } from 'react'
import type { ReactNode } from 'react'

/** A control with its label above it. */
export function Field(props: {
  label: string
  note?: ReactNode
  children: (id: string) => ReactNode
}): ReactNode {
  const id = useId()
  return (
    <div className="field">
      <label htmlFor={id}>{props.label}</label>
      {props.children(id)}
      {props.note !== undefined && <span className="field-note">{props.note}</span>}
    </div>
  )
}

export function TextArea(props: {
  label: string
  value: string
  maxLength?: number
  rows?: number
  onChange: (value: string) => void
}): ReactNode {
  return (
    <Field label={props.label}>
      {(id) => (
        <textarea
          id={id}
          className="filter-input"
          rows={props.rows ?? 2}
          maxLength={props.maxLength ?? 16_384}
          value={props.value}
          onChange={(event) => props.onChange(event.target.value)}
        />
      )}
    </Field>
  )
}

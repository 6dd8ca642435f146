import type { ReactNode } from 'react'
import type { ApiError } from '../api/client.ts'
import { useCopy } from '../lib/copy.ts'
import { ago, clockTime, dateTime, duration } from '../lib/format.ts'
import { useNow } from '../lib/now.ts'
import { Icon } from './icon.tsx'
import { Prose } from './prose.tsx'

/** A titled box. */
export function Panel(props: {
  title?: ReactNode
  aside?: ReactNode
  className?: string
  children: ReactNode
}): ReactNode {
  return (
    <section className={`panel ${props.className ?? ''}`}>
      {props.title !== undefined && (
        <header className="panel-head">
          <h2>{props.title}</h2>
          {props.aside !== undefined && <div className="panel-aside">{props.aside}</div>}
        </header>
      )}
      {props.children}
    </section>
  )
}

/** What stands where nothing is yet, and how something would come to be there. */
export function Empty({ title, children }: { title: string; children?: ReactNode }): ReactNode {
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children !== undefined && <div className="empty-text">{children}</div>}
    </div>
  )
}

/** Lines of the height that the content will have. */
export function Skeleton({
  lines = 4,
  what = 'Loading',
}: {
  lines?: number
  what?: string
}): ReactNode {
  return (
    <div className="skeleton" role="status">
      <span className="sr-only">{what}</span>
      {Array.from({ length: lines }, (_, i) => (
        <span key={i} className={`skeleton-line w${i % 4}`} />
      ))}
    </div>
  )
}

/** An error in the server's words, with its code and remedy. */
export function Failure({ error, retry }: { error: ApiError; retry?: () => void }): ReactNode {
  return (
    <div className="failure" role="alert">
      <p>
        <Icon name="incident" /> <Prose>{sentence(error.message)}</Prose> <code>{error.code}</code>
      </p>
      {error.fix !== undefined && <p className="muted">{error.fix}</p>}
      {retry && (
        <button type="button" className="link" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  )
}

/** Server messages are lower-case without a stop; on a page they are sentences. */
export function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(first) ? first : `${first}.`
}

export function Time({ at, full = false }: { at: number; full?: boolean }): ReactNode {
  return (
    <time className="num" dateTime={new Date(at).toISOString()} title={`${dateTime(at)} UTC`}>
      {full ? dateTime(at) : clockTime(at)}
    </time>
  )
}

export function Ago({ at }: { at: number }): ReactNode {
  const now = useNow()
  return (
    <time className="num" dateTime={new Date(at).toISOString()} title={`${dateTime(at)} UTC`}>
      {ago(at, now)}
    </time>
  )
}

/** Time left until `at`; in the needs tone when a quarter of `of` milliseconds, or less, is left. */
export function Countdown(props: { at: number; of?: number; done: string }): ReactNode {
  const left = props.at - useNow()
  if (left <= 0) return <span className="num countdown over">{props.done}</span>
  const late = props.of !== undefined && left < props.of / 4
  return (
    <time
      className={`num countdown ${late ? 'late' : ''}`}
      dateTime={new Date(props.at).toISOString()}
      title={`${dateTime(props.at)} UTC`}
    >
      {duration(left)}
    </time>
  )
}

/** A command or id that one press copies. */
export function Copyable(props: { text: string; shown?: string; label: string }): ReactNode {
  const { text, label } = props
  const { copied, copy } = useCopy(text)
  return (
    <span className="copyable">
      <code title={text}>{props.shown ?? text}</code>
      <button type="button" className="icon-button" onClick={copy} aria-label={label} title={label}>
        <Icon name={copied ? 'allow' : 'copy'} size={14} />
      </button>
      <span className="sr-only" role="status">
        {copied ? 'Copied' : ''}
      </span>
    </span>
  )
}

/** Names and values in two columns. */
export function Facts({ rows }: { rows: readonly (readonly [string, ReactNode])[] }): ReactNode {
  return (
    <dl className="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  )
}

export function Tags({ tags, none }: { tags: readonly string[]; none?: string }): ReactNode {
  if (tags.length === 0) return none === undefined ? null : <span className="muted">{none}</span>
  return (
    <span className="tags">
      {tags.map((tag) => (
        <span key={tag} className={`tag ${tag === 'untrusted' ? 'tag-warn' : ''}`}>
          {tag}
        </span>
      ))}
    </span>
  )
}

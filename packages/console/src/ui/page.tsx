import { useEffect, useRef } from 'react'
import type { ReactNode } from 'react'

let navigations = 0

/** A screen: names the document and, after the first one, takes the focus to its heading so that it is announced. */
export function Page(props: {
  title: string
  heading?: ReactNode
  aside?: ReactNode
  lead?: ReactNode
  wide?: boolean
  children: ReactNode
}): ReactNode {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = `${props.title} · Sallyport`
  }, [props.title])
  useEffect(() => {
    if (navigations++ > 0) heading.current?.focus({ preventScroll: true })
  }, [])
  return (
    <div className={props.wide ? 'page wide' : 'page'}>
      <header className="page-head">
        <div>
          <h1 ref={heading} tabIndex={-1}>
            {props.heading ?? props.title}
          </h1>
          {props.lead !== undefined && <p className="lead">{props.lead}</p>}
        </div>
        {props.aside !== undefined && <div className="page-aside">{props.aside}</div>}
      </header>
      {props.children}
    </div>
  )
}

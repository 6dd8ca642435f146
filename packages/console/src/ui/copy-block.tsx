import type { ReactNode } from 'react'
import { useCopy } from '../lib/copy.ts'
import { Button } from './button.tsx'

/** Lines that one press copies, as they are shown, and what is to be done with them. */
export function CopyBlock(props: { text: string; label: string; children: ReactNode }): ReactNode {
  const { text, label, children } = props
  const { copied, copy } = useCopy(text)
  return (
    <div className="copy-block">
      {/* Long lines scroll, so the keyboard must be able to. */}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre className="block" tabIndex={0} role="group" aria-label={label}>
        {text}
      </pre>
      <div className="copy-acts">
        <Button icon={copied ? 'allow' : 'copy'} onPress={copy}>
          {copied ? 'Copied' : 'Copy'}
        </Button>
        <span className="muted">{children}</span>
      </div>
      <span className="sr-only" role="status">
        {copied ? 'Copied' : ''}
      </span>
    </div>
  )
}

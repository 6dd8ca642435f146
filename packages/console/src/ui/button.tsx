import type { ReactNode } from 'react'
import { Button as AriaButton } from 'react-aria-components/Button'
import { Icon } from './icon.tsx'
import type { IconName } from './icon.tsx'

/** A button that names why it cannot be pressed: beside it, not only in a tooltip. */
export function Button(props: {
  kind?: 'primary' | 'danger' | 'quiet'
  icon?: IconName
  busy?: boolean
  disabled?: boolean
  type?: 'button' | 'submit'
  autoFocus?: boolean
  describedBy?: string
  onPress?: () => void
  children: ReactNode
}): ReactNode {
  return (
    <AriaButton
      className={`button ${props.kind ?? 'plain'}`}
      type={props.type ?? 'button'}
      isDisabled={props.disabled ?? false}
      isPending={props.busy ?? false}
      autoFocus={props.autoFocus ?? false}
      {...(props.describedBy !== undefined && { 'aria-describedby': props.describedBy })}
      {...(props.onPress && { onPress: props.onPress })}
    >
      {props.icon && <Icon name={props.icon} size={14} />}
      {props.children}
    </AriaButton>
  )
}

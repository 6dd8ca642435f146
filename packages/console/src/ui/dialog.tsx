import type { ReactNode } from 'react'
import { Dialog } from 'react-aria-components/Dialog'
import { Heading } from 'react-aria-components/Heading'
import { Modal, ModalOverlay } from 'react-aria-components/Modal'

/** A modal dialog; the focus stays inside and returns to where it was. */
export function ModalDialog(props: {
  title: string
  open: boolean
  onClose: () => void
  children: ReactNode
}): ReactNode {
  return (
    <ModalOverlay
      className="overlay"
      isOpen={props.open}
      isDismissable
      onOpenChange={(open) => {
        if (!open) props.onClose()
      }}
    >
      <Modal className="modal">
        <Dialog className="dialog">
          <Heading slot="title" className="dialog-title">
            {props.title}
          </Heading>
          {props.children}
        </Dialog>
      </Modal>
    </ModalOverlay>
  )
}

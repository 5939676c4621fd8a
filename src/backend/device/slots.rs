//! Weights that are copied to the device when launches need them: page-locked copies on the host, two slots on the device.

use std::sync::Arc;

use super::driver::{Command, Upload};
use super::memory::HostBuffer;
use super::{DeviceBackend, Resident};
use crate::exec::ExecError;
use crate::graph::{Graph, WeightId};
use crate::kernels::Tables;
use crate::plan::{ALIGNMENT, Streaming};
use crate::weights::{Form, Weight};

/// A weight of a group: where it lies in the slot.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: WeightId,
    form: Form,
    offset: usize,
}

/// Where each streamed weight will lie, before anything is made.
#[derive(Debug, Default)]
pub(super) struct Layout {
    groups: Vec<Vec<Place>>,
    slot_bytes: usize,
}

impl Layout {
    /// The weights among `wanted` that `streaming` names, in the form in which kernels read them; the rest is returned.
    pub(super) fn new(
        graph: &Graph,
        streaming: &Streaming,
        wanted: Vec<(WeightId, Form)>,
    ) -> (Self, Vec<(WeightId, Form)>) {
        let (mut groups, mut slot_bytes) = (Vec::new(), 0);
        let mut stay = wanted;
        for group in &streaming.groups {
            let mut end = 0;
            let mut places = Vec::new();
            for id in &group.weights {
                let of_it = |(other, form): &mut (WeightId, Form)| other == id && matches!(form, Form::Matrix(_));
                for (id, form) in stay.extract_if(.., of_it) {
                    places.push(Place { id, form, offset: end });
                    end += form.bytes(&graph[id]).next_multiple_of(ALIGNMENT);
                }
            }
            slot_bytes = slot_bytes.max(end);
            groups.push(places);
        }
        (Self { groups, slot_bytes }, stay)
    }

    /// Bytes of both slots.
    pub(super) fn bytes(&self) -> usize {
        2 * self.slot_bytes
    }

    fn weights<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = (&'a Weight, Form)> {
        self.groups.iter().flatten().map(|place| (&graph[place.id], place.form))
    }

    /// Bytes of the page-locked copies that are not made yet.
    pub(super) fn missing_bytes(&self, graph: &Graph, resident: &Resident) -> usize {
        let missing = self.weights(graph).filter(|(w, form)| !resident.streamed.contains_key(&((*w).clone(), *form)));
        missing.map(|(weight, form)| form.bytes(weight)).sum()
    }

    /// Takes copies of these weights off the device: other programs may have put them there.
    pub(super) fn clear(&self, graph: &Graph, resident: &mut Resident) {
        for (weight, form) in self.weights(graph) {
            resident.weights.remove(&(weight.clone(), form));
        }
    }
}

/// The slots of one decode.
#[derive(Debug)]
pub(super) struct Slots {
    groups: Vec<Vec<Upload>>,
    /// The copies' sources, alive as long as something may read them.
    _sources: Vec<Arc<HostBuffer>>,
    /// Which slot each group has.
    slot_of: Vec<usize>,
    /// By slot: the group whose weights are or will be there.
    inside: [Option<usize>; 2],
    /// By slot: position among the commands not handed over yet of the last that reads it.
    last_reader: [Option<usize>; 2],
}

impl Slots {
    /// Makes what is missing on the host and enters addresses in slots that begin at `start`.
    pub(super) fn new(
        backend: &DeviceBackend,
        graph: &Graph,
        streaming: &Streaming,
        layout: &Layout,
        start: u64,
        tables: &mut Tables,
        placed: &mut dyn FnMut(usize) -> Result<(), ExecError>,
    ) -> Result<Self, ExecError> {
        let slot_of: Vec<usize> = streaming.groups.iter().map(|group| group.slot).collect();
        let (mut groups, mut sources) = (Vec::new(), Vec::new());
        for (places, slot) in layout.groups.iter().zip(&slot_of) {
            let mut uploads = Vec::new();
            for Place { id, form, offset } in places {
                let weight = &graph[*id];
                let source = backend.page_locked(weight, *form, placed)?;
                let to = start + (slot * layout.slot_bytes + offset) as u64;
                tables.place_weight(*id, *form, to, form.stride(weight));
                uploads.push(Upload { to, from: source.address(), bytes: source.bytes(), after: None });
                sources.push(source);
            }
            groups.push(uploads);
        }
        Ok(Self { groups, _sources: sources, slot_of, inside: [None; 2], last_reader: [None; 2] })
    }

    /// Appends the copies of `group` to the commands not handed over yet, unless its weights are there.
    pub(super) fn fill(&mut self, group: usize, pending: &mut Vec<Command>) {
        let slot = self.slot_of[group];
        if self.inside[slot] == Some(group) {
            return;
        }
        let after = self.last_reader[slot];
        pending.extend(self.groups[group].iter().map(|upload| Command::Upload(Upload { after, ..upload.clone() })));
        self.inside[slot] = Some(group);
    }

    /// The last command in `pending` reads the weights of `group`.
    pub(super) fn read(&mut self, group: usize, pending: &[Command]) {
        self.last_reader[self.slot_of[group]] = pending.len().checked_sub(1);
    }

    /// All commands were handed over: what comes later comes after them.
    pub(super) fn handed_over(&mut self) {
        self.last_reader = [None; 2];
    }
}

impl DeviceBackend {
    /// The page-locked copy of a weight; made if need be, and `placed` told its bytes.
    fn page_locked(
        &self,
        weight: &Weight,
        form: Form,
        placed: &mut dyn FnMut(usize) -> Result<(), ExecError>,
    ) -> Result<Arc<HostBuffer>, ExecError> {
        let key = (weight.clone(), form);
        let known = self.resident().streamed.get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let matrix = self.store.matrix(weight)?;
        let made = HostBuffer::filled(&self.driver, form.bytes(weight), |bytes| form.pack(&matrix, bytes))?;
        let bytes = made.bytes();
        let kept = Arc::clone(self.resident().streamed.entry(key).or_insert(Arc::new(made)));
        placed(bytes)?;
        Ok(kept)
    }
}

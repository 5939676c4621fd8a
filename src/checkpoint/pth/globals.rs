//! The names that a pickle may mention, and what they stand for: classes of storages, functions that make tensors,
//! NumPy's array. Anything else is refused, and nothing is ever called.

use super::PthError;
use crate::checkpoint::DType;

/// The only names a pickle may mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    OrderedDict,
    RebuildTensorV2,
    RebuildTensorV3,
    /// A typed storage; `None` is an untyped one.
    StorageClass(Option<DType>),
    DTypeName(DType),
    /// `torch.Size`: a tuple.
    Size,
    /// A tensor of a device that PyTorch saves as an array (Apple's, XLA).
    RebuildFromArray,
    /// A function whose first argument is the tensor.
    RebuildFromTensor,
    /// `(function, class, arguments, state)`: the function's result.
    RebuildFromType,
    /// A class, or a function whose result is no tensor.
    Ignored,
    ArrayReconstruct,
    ArrayType,
    Encode,
}

/// What `module.name` stands for.
pub(super) fn allowed(module: &str, name: &str) -> Result<Allowed, PthError> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Allowed::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Allowed::RebuildTensorV2,
        ("torch._utils", "_rebuild_tensor_v3") => Allowed::RebuildTensorV3,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Allowed::RebuildFromTensor,
        ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor") => Allowed::RebuildFromTensor,
        ("torch._utils", "_rebuild_device_tensor_from_numpy" | "_rebuild_xla_tensor") => Allowed::RebuildFromArray,
        ("torch._tensor", "_rebuild_from_type_v2") => Allowed::RebuildFromType,
        ("torch", "Tensor" | "device") | ("torch.nn.parameter", "Parameter") => Allowed::Ignored,
        ("torch.serialization", "_get_layout") | ("numpy", "ndarray") => Allowed::Ignored,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Allowed::ArrayReconstruct,
        ("numpy", "dtype") => Allowed::ArrayType,
        ("_codecs", "encode") => Allowed::Encode,
        ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => Allowed::StorageClass(None),
        ("torch", "Size") => Allowed::Size,
        ("torch" | "torch.cuda", name) => match dtype_of(name) {
            Some((true, dtype)) => Allowed::StorageClass(Some(dtype)),
            Some((false, dtype)) => Allowed::DTypeName(dtype),
            None => return Err(PthError::Global(format!("{module} {name}"))),
        },
        _ => return Err(PthError::Global(format!("{module} {name}"))),
    })
}

/// `(is a storage class, type)`.
fn dtype_of(name: &str) -> Option<(bool, DType)> {
    Some(match name {
        "DoubleStorage" => (true, DType::F64),
        "FloatStorage" => (true, DType::F32),
        "HalfStorage" => (true, DType::F16),
        "BFloat16Storage" => (true, DType::Bf16),
        "LongStorage" => (true, DType::I64),
        "IntStorage" => (true, DType::I32),
        "ShortStorage" => (true, DType::I16),
        "CharStorage" => (true, DType::I8),
        "ByteStorage" => (true, DType::U8),
        "BoolStorage" => (true, DType::Bool),
        "ComplexFloatStorage" => (true, DType::C64),
        "ComplexDoubleStorage" => (true, DType::C128),
        "float64" => (false, DType::F64),
        "float32" => (false, DType::F32),
        "float16" => (false, DType::F16),
        "bfloat16" => (false, DType::Bf16),
        "float8_e4m3fn" => (false, DType::F8E4M3),
        "float8_e5m2" => (false, DType::F8E5M2),
        "float8_e8m0fnu" => (false, DType::F8E8M0),
        "float8_e4m3fnuz" => (false, DType::F8E4M3Fnuz),
        "float8_e5m2fnuz" => (false, DType::F8E5M2Fnuz),
        "complex64" => (false, DType::C64),
        "complex128" => (false, DType::C128),
        "uint64" => (false, DType::U64),
        "uint32" => (false, DType::U32),
        "uint16" => (false, DType::U16),
        "int64" => (false, DType::I64),
        "int32" => (false, DType::I32),
        "int16" => (false, DType::I16),
        "int8" => (false, DType::I8),
        "uint8" => (false, DType::U8),
        "bool" => (false, DType::Bool),
        _ => return None,
    })
}
